// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	secretv1beta1 "github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
)

// state is the part of an object that determines whether a value is the newest.
type state struct {
	// watched is false when the object is absent or deleted, or the watch does not run: then nothing is known.
	watched    bool
	uid        types.UID
	version    int64
	decrypters string
}

// metadata follows the secure values of a namespace.
type metadata struct {
	informer  cache.SharedIndexInformer
	namespace string
	gone      func(name string)
	// connected: the last list and watch succeeded.
	connected atomic.Bool
	ended     atomic.Bool

	mu          sync.Mutex
	subscribers map[string]map[chan struct{}]struct{}
}

func newMetadata(api versioned.Interface, config CacheConfig, gone func(string)) (*metadata, error) {
	m := &metadata{namespace: config.Namespace, gone: gone, subscribers: map[string]map[chan struct{}]struct{}{}}
	watched := m.listWatch(api, config)
	m.informer = cache.NewSharedIndexInformer(watched, &secretv1beta1.SecureValue{}, 0, cache.Indexers{})
	if err := m.informer.SetTransform(strip); err != nil {
		return nil, fmt.Errorf("decrypt cache: %w", err)
	}
	_, err := m.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { m.notify(nameOf(object)) },
		UpdateFunc: func(_, object any) {
			if deleted(object) {
				m.gone(nameOf(object))
			}
			m.notify(nameOf(object))
		},
		DeleteFunc: func(object any) {
			m.gone(nameOf(object))
			m.notify(nameOf(object))
		},
	})
	if err != nil {
		return nil, fmt.Errorf("decrypt cache: %w", err)
	}
	return m, nil
}

// plainListWatch makes the reflector list before it watches: a started watch then means that the store is up to date,
// which with a streamed list it would not.
type plainListWatch struct{ cache.ListWatch }

// IsWatchListSemanticsUnSupported is for the reflector.
func (plainListWatch) IsWatchListSemanticsUnSupported() bool { return true }

func (m *metadata) listWatch(api versioned.Interface, config CacheConfig) *plainListWatch {
	values := api.SecretV1beta1().SecureValues(config.Namespace)
	selector := ""
	if config.Decrypter != "" {
		selector = fields.OneTermEqualSelector("spec.decrypter", config.Decrypter).String()
	}
	return &plainListWatch{cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			m.connected.Store(false)
			options.FieldSelector = selector
			return values.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			m.connected.Store(false)
			options.FieldSelector = selector
			events, err := values.Watch(ctx, options)
			m.connected.Store(err == nil)
			return events, err
		},
	}}
}

func (m *metadata) run(ctx context.Context) { m.informer.RunWithContext(ctx) }

// running reports whether the watch delivers every change.
func (m *metadata) running() bool { return m.connected.Load() && m.informer.HasSynced() }

// state returns what is known of an object now.
func (m *metadata) state(name string) state {
	if !m.running() {
		return state{}
	}
	object, exists, err := m.informer.GetStore().GetByKey(m.namespace + "/" + name)
	if err != nil || !exists {
		return state{}
	}
	sv := object.(*secretv1beta1.SecureValue)
	if deleted(sv) {
		return state{}
	}
	decrypters := strings.Join(slices.Sorted(slices.Values(sv.Spec.Decrypters)), ",")
	return state{watched: true, uid: sv.UID, version: sv.Status.Version, decrypters: decrypters}
}

// subscribe returns a channel that gets an element after each event of an object, until cancel.
func (m *metadata) subscribe(name string) (events <-chan struct{}, cancel func()) {
	channel := make(chan struct{}, 1)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.subscribers[name] == nil {
		m.subscribers[name] = map[chan struct{}]struct{}{}
	}
	m.subscribers[name][channel] = struct{}{}
	return channel, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.subscribers[name], channel)
		if len(m.subscribers[name]) == 0 {
			delete(m.subscribers, name)
		}
	}
}

func (m *metadata) notify(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for channel := range m.subscribers[name] {
		wake(channel)
	}
}

func wake(channel chan struct{}) {
	select {
	case channel <- struct{}{}:
	default: // one is pending
	}
}

// close wakes all subscribers a last time.
func (m *metadata) close() {
	m.ended.Store(true)
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, channels := range m.subscribers {
		for channel := range channels {
			wake(channel)
		}
	}
}

func (m *metadata) closed() bool { return m.ended.Load() }

// strip keeps of an object what state and the informer need, to save memory.
func strip(object any) (any, error) {
	sv, ok := object.(*secretv1beta1.SecureValue)
	if !ok {
		return object, nil
	}
	return &secretv1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: sv.Namespace, Name: sv.Name, UID: sv.UID, ResourceVersion: sv.ResourceVersion,
			DeletionTimestamp: sv.DeletionTimestamp,
		},
		Spec:   secretv1beta1.SecureValueSpec{Decrypters: sv.Spec.Decrypters},
		Status: secretv1beta1.SecureValueStatus{Version: sv.Status.Version},
	}, nil
}

// deleted reports whether an object is deleted and waits for its finalizers. The server no longer opens its value.
func deleted(object any) bool {
	sv, ok := object.(*secretv1beta1.SecureValue)
	return ok && sv.DeletionTimestamp != nil
}

// nameOf returns the name of the object of an event, also of a missed deletion.
func nameOf(object any) string {
	if missed, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = missed.Obj
	}
	if sv, ok := object.(*secretv1beta1.SecureValue); ok {
		return sv.Name
	}
	return ""
}

// retryPause is how often Watch fetches while the watch does not run or the server is unavailable.
const retryPause = time.Second

// Watch yields the value of name, and again whenever it changes, until ctx ends or the cache is closed. It yields an
// error instead of a value, once per kind of error, and continues: a value that comes back is yielded.
//
// A rewrite with the same value yields nothing. Values that change faster than the loop runs are skipped, but never the
// last one.
func (c *Cache) Watch(ctx context.Context, name string) iter.Seq2[Value, error] {
	return func(yield func(Value, error) bool) {
		events, cancel := c.watched.subscribe(name)
		defer cancel()
		last := ""
		for {
			value, err := c.Get(ctx, name)
			if ctx.Err() != nil || c.watched.closed() {
				return
			}
			if now := fingerprint(value, err); now != last {
				last = now
				if !yield(value, err) {
					return
				}
			}
			if !c.await(ctx, name, err, events) {
				return
			}
		}
	}
}

// fingerprint identifies what Watch has yielded.
func fingerprint(value Value, err error) string {
	if err != nil {
		return "error " + err.Error()
	}
	return "value " + value.Expose()
}

// await waits for an event, or until it is time to fetch without one.
func (c *Cache) await(ctx context.Context, name string, err error, events <-chan struct{}) bool {
	timer := time.NewTimer(c.pause(name, err))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-events:
	case <-timer.C:
	}
	return !c.watched.closed()
}

// pause is short while no event would come: the watch does not run, or the last result is not an answer of the server.
func (c *Cache) pause(name string, err error) time.Duration {
	settled := c.watched.running()
	if err != nil {
		settled = settled && !temporary(err)
	} else if settled {
		newest := c.watched.state(name)
		c.mu.Lock()
		e := c.entry(name)
		settled = e != nil && c.current(e, newest, c.now())
		c.mu.Unlock()
	}
	if settled {
		return c.config.MaxAge
	}
	return retryPause
}
