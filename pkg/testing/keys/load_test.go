// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typed "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// window is when requests may fail: while the server is killed and comes back. It is odd then.
type window struct{ epoch atomic.Int64 }

func (w *window) open()  { w.epoch.Add(1) }
func (w *window) close() { w.epoch.Add(1) }

// during runs a request and fails the test when it fails although the server was there all the time.
func (w *window) during(t *testing.T, what string, request func() error) (ok bool) {
	t.Helper()
	before := w.epoch.Load()
	err := request()
	if err != nil && t.Context().Err() == nil && before == w.epoch.Load() && before%2 == 0 {
		t.Errorf("%s: %v", what, err)
	}
	return err == nil
}

// load writes new values, labels and reads until it is stopped. Each writer has its own values.
type load struct {
	values  typed.SecureValueInterface
	window  *window
	stop    chan struct{}
	group   sync.WaitGroup
	writes  atomic.Int64
	mu      sync.Mutex
	written map[string]map[string]bool // what a value may be: the last one that was acknowledged, and those after it
}

func startLoad(t *testing.T, values typed.SecureValueInterface, window *window, stored map[string]string, writers int) *load {
	t.Helper()
	l := &load{values: values, window: window, stop: make(chan struct{}), written: map[string]map[string]bool{}}
	names := make([][]string, writers)
	i := 0
	for name, value := range stored {
		l.written[name] = map[string]bool{value: true}
		if i < 5*writers { // the others are written by nobody but the rotation
			names[i%writers] = append(names[i%writers], name)
		}
		i++
	}
	for _, own := range names {
		l.group.Go(func() { l.each(func(n int) { l.write(t, own[n%len(own)], n) }) })
		l.group.Go(func() { l.each(func(n int) { l.read(t, own[n%len(own)]) }) })
	}
	return l
}

func (l *load) each(do func(n int)) {
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		default:
			do(n)
		}
	}
}

func (l *load) write(t *testing.T, name string, n int) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if n%3 == 2 {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"n":"%d"}}}`, n)
		l.window.during(t, "label", func() error {
			_, err := l.values.Patch(ctx, name, "application/merge-patch+json", patch, metav1.PatchOptions{})
			return err
		})
		return
	}
	value := harness.Canary()
	l.note(name, value, false)
	if l.window.during(t, "write", func() error { return l.put(ctx, name, value) }) {
		l.note(name, value, true)
		l.writes.Add(1)
	}
}

func (l *load) put(ctx context.Context, name, value string) error {
	_, err := l.values.Update(ctx, &v1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1beta1.SecureValueSpec{Description: "test", Value: sensitive.New(value)},
	}, metav1.UpdateOptions{})
	return err
}

// note remembers what a value may be. A write without an answer may have happened.
func (l *load) note(name, value string, acknowledged bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if acknowledged {
		l.written[name] = map[string]bool{}
	}
	l.written[name][value] = true
}

func (l *load) read(t *testing.T, name string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	l.window.during(t, "get", func() error { _, err := l.values.Get(ctx, name, metav1.GetOptions{}); return err })
	l.window.during(t, "list", func() error { _, err := l.values.List(ctx, metav1.ListOptions{Limit: 10}); return err })
}

func (l *load) end() {
	close(l.stop)
	l.group.Wait()
}

// check compares what opens with what was written.
func (l *load) check(t *testing.T, opened map[string]string) {
	t.Helper()
	if len(opened) != len(l.written) {
		t.Errorf("%d values open, want %d", len(opened), len(l.written))
	}
	for name, may := range l.written {
		if !may[opened[namespace+"/"+name]] {
			t.Errorf("%s opens to something that its last writer did not write", name)
		}
	}
}
