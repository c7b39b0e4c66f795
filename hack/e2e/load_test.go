// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
)

// loadWorkers are how many clients work at the same time, each with client-go's defaults, its rate limit included.
const loadWorkers = 8

// load is traffic through the aggregator while something else happens.
type load struct {
	t        *testing.T
	requests atomic.Int64
	stop     context.CancelFunc
	workers  sync.WaitGroup

	mutex    sync.Mutex
	failures []string
}

// startLoad sends requests of every verb until finish. Any that fails fails the test.
func startLoad(t *testing.T) *load {
	t.Helper()
	namespace := newNamespace(t)
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{t: t, stop: cancel}
	for number := range loadWorkers {
		config := cluster.AdminConfig()
		config.QPS = 0 // client-go's default
		client := secureValues(t, config, namespace)
		l.workers.Go(func() {
			for round := 0; ctx.Err() == nil; round++ {
				l.round(ctx, client, fmt.Sprintf("load-%d-%d", number, round))
			}
		})
	}
	t.Cleanup(cancel)
	return l
}

// round is the life of one object. A request that the end of the load interrupted does not count as failed.
func (l *load) round(ctx context.Context, client typedv1beta1.SecureValueInterface, name string) {
	var object *v1beta1.SecureValue
	for _, step := range []struct {
		verb string
		do   func() error
	}{
		{"create", func() (err error) {
			created, _ := newSecureValue(name)
			object, err = client.Create(ctx, created, metav1.CreateOptions{})
			return err
		}},
		{"get", func() (err error) {
			object, err = client.Get(ctx, name, metav1.GetOptions{})
			return err
		}},
		{"update", func() (err error) {
			object.Spec.Value = sensitive.New("updated")
			object, err = client.Update(ctx, object, metav1.UpdateOptions{})
			return err
		}},
		{"patch", func() error {
			_, err := client.Patch(ctx, name, types.MergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
			return err
		}},
		{"list", func() error {
			_, err := client.List(ctx, metav1.ListOptions{Limit: 5})
			return err
		}},
		{"delete", func() error { return client.Delete(ctx, name, metav1.DeleteOptions{}) }},
	} {
		err := step.do()
		if ctx.Err() != nil {
			return
		}
		l.requests.Add(1)
		if err != nil {
			l.mutex.Lock()
			l.failures = append(l.failures, fmt.Sprintf("%s %s: %v", step.verb, name, err))
			l.mutex.Unlock()
			return
		}
	}
}

// settle waits until every worker has had answers to requests that it sent after now.
func (l *load) settle() {
	l.t.Helper()
	target := l.requests.Load() + 3*loadWorkers
	eventually(l.t, "the load goes on", func(context.Context) error {
		if now := l.requests.Load(); now < target {
			return fmt.Errorf("%d of %d requests", now, target)
		}
		return nil
	})
}

// finish ends the load and reports what failed.
func (l *load) finish() {
	l.t.Helper()
	l.settle()
	l.stop()
	l.workers.Wait()
	l.t.Logf("%d requests, %d failed", l.requests.Load(), len(l.failures))
	for _, failure := range l.failures[:min(len(l.failures), 10)] {
		l.t.Error(failure)
	}
}
