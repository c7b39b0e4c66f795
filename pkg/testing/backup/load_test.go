// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	typed "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	writers = 8
	// writesBefore are the acknowledged writes before the backup starts, writesDuring those until the load ends.
	writesBefore, writesDuring = 200, 400
)

// history is what one writer did to one name: the values it sent in order, how many of them were acknowledged, and how
// many were when the backup started.
type history struct {
	values      []string
	ack, before int
}

// load is writers that create and change values until they are told to stop.
type load struct {
	mu     sync.Mutex
	names  map[string]*history
	writes atomic.Int64
	stop   atomic.Bool
	group  sync.WaitGroup
}

func startLoad(t *testing.T, values typed.SecureValueInterface) *load {
	t.Helper()
	l := &load{names: map[string]*history{}}
	for w := range writers {
		l.group.Go(func() {
			for i := 0; !l.stop.Load(); i++ {
				if err := l.write(t, values, fmt.Sprintf("w%d-%d", w, i/3)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	return l
}

// write creates a name or gives it its next value.
func (l *load) write(t *testing.T, values typed.SecureValueInterface, name string) (err error) {
	value := harness.Canary()
	l.mu.Lock()
	h := l.names[name]
	if h == nil {
		h = &history{}
		l.names[name] = h
	}
	h.values = append(h.values, value)
	first := len(h.values) == 1
	l.mu.Unlock()
	if first {
		_, err = values.Create(t.Context(), harness.NewValue(name, value, "k6-cloud"), metav1.CreateOptions{})
	} else {
		_, err = values.Patch(t.Context(), name, types.MergePatchType, []byte(`{"spec":{"value":"`+value+`"}}`), metav1.PatchOptions{})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		h.ack++
		l.writes.Add(1)
	}
	return err
}

// mark remembers what is acknowledged now.
func (l *load) mark() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.names {
		h.before = h.ack
	}
}

func (l *load) all() map[string]string {
	sent := map[string]string{}
	for name, h := range l.names {
		for i, value := range h.values {
			sent[fmt.Sprint(name, i)] = value
		}
	}
	return sent
}

// holds checks what opened of a restored backup: each name with the value that was acknowledged before the backup
// began, or with a later one.
func (l *load) holds(t *testing.T, opened map[string]string) {
	t.Helper()
	for name, h := range l.names {
		value, found := opened[namespace+"/"+name]
		switch at := slices.Index(h.values, value); {
		case !found && h.before > 0:
			t.Errorf("%s was acknowledged before the backup, and is not in it", name)
		case found && at < h.before-1:
			t.Errorf("%s: %d values were acknowledged before the backup, number %d is in it", name, h.before, at+1)
		}
		delete(opened, namespace+"/"+name)
	}
	for name := range opened {
		t.Errorf("%s was never written", name)
	}
}

// A backup is made while a server is written to, and another after it was stopped. Both restore by commands alone.
func TestBackupUnderLoadIsRestored(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	values := s.Values(t, "", namespace)
	l := startLoad(t, values)
	harness.Eventually(t, "there is something to back up", func() bool { return l.writes.Load() >= writesBefore || t.Failed() })
	l.mark()
	online := file(t)
	line := must(t, "backup", "--data-dir="+s.DataDir, "--to="+online)
	taken := l.writes.Load()
	harness.Eventually(t, "there were writes after the backup too", func() bool { return l.writes.Load() >= taken+writesDuring || t.Failed() })
	l.stop.Store(true)
	l.group.Wait()

	checkFile(t, online, line)
	verified := must(t, "backup", "verify", "--from="+online, "--encryption-provider-config="+keys(s.DataDir))
	s.Stop(t)
	offline := file(t)
	second := must(t, "backup", "--data-dir="+s.DataDir, "--to="+offline, "--verify", "--encryption-provider-config="+keys(s.DataDir))

	first := harness.OpenAll(t, restore(t, online, s.DataDir))
	if !strings.Contains(verified, fmt.Sprintf("\n%d of %[1]d values open", len(first))) {
		t.Errorf("%d values are in the backup, but:\n%s", len(first), verified)
	}
	l.holds(t, first)
	l.mark()
	l.holds(t, harness.OpenAll(t, restore(t, offline, s.DataDir)))
	for what, data := range map[string][]byte{
		"a backup": harness.ReadFile(t, online), "an offline backup": harness.ReadFile(t, offline), "output": []byte(line + verified + second),
	} {
		noCanary(t, what, data, l.all())
	}
}

func checkFile(t *testing.T, backup, line string) {
	t.Helper()
	info, err := os.Stat(backup)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, want := range []string{backup + ": ", fmt.Sprintf("(%d bytes), revision ", info.Size()), " values.", "The keys are not in it"} {
		if !strings.Contains(line, want) || strings.Count(line, "\n") != 1 {
			t.Errorf("want one line with %q: %s", want, line)
		}
	}
}
