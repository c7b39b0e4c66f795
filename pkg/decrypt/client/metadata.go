// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	secretv1beta1 "github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
)

// state is what of an object decides whether a value is the newest.
type state struct {
	// watched is false when the object is not there, is deleted, or the watch does not run: then nothing is known.
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
	// connected: a watch was begun and has not been begun anew since.
	connected atomic.Bool
	ended     atomic.Bool

	mu          sync.Mutex
	subscribers map[string]map[chan struct{}]struct{}
}

func newMetadata(api versioned.Interface, config CacheConfig, gone func(string)) (*metadata, error) {
	m := &metadata{namespace: config.Namespace, gone: gone, subscribers: map[string]map[chan struct{}]struct{}{}}
	m.informer = cache.NewSharedIndexInformer(m.listWatch(api, config), &secretv1beta1.SecureValue{}, 0, cache.Indexers{})
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

// plainListWatch keeps the reflector to a list followed by a watch: a watch that was begun then means that the store is
// up to date, which with a streamed list it would not.
type plainListWatch struct{ cache.ListWatch }

// IsWatchListSemanticsUnSupported is how a reflector asks.
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

// running says whether the watch tells of every change.
func (m *metadata) running() bool { return m.connected.Load() && m.informer.HasSynced() }

// state is what is known of an object now.
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
	return state{watched: true, uid: sv.UID, version: sv.Status.Version, decrypters: strings.Join(slices.Sorted(slices.Values(sv.Spec.Decrypters)), ",")}
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
	default: // it has one that nobody took yet
	}
}

// close wakes all subscribers for the last time.
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

// strip leaves of an object what state and the informer need: the rest would only take memory.
func strip(object any) (any, error) {
	sv, ok := object.(*secretv1beta1.SecureValue)
	if !ok {
		return object, nil
	}
	return &secretv1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: sv.Namespace, Name: sv.Name, UID: sv.UID, ResourceVersion: sv.ResourceVersion, DeletionTimestamp: sv.DeletionTimestamp,
		},
		Spec:   secretv1beta1.SecureValueSpec{Decrypters: sv.Spec.Decrypters},
		Status: secretv1beta1.SecureValueStatus{Version: sv.Status.Version},
	}, nil
}

// deleted reports whether an object is deleted and waits for its finalizers. The server does not open its value any
// more.
func deleted(object any) bool {
	sv, ok := object.(*secretv1beta1.SecureValue)
	return ok && sv.DeletionTimestamp != nil
}

// nameOf is the name of an object of an event, also of one whose deletion was missed.
func nameOf(object any) string {
	if missed, ok := object.(cache.DeletedFinalStateUnknown); ok {
		object = missed.Obj
	}
	if sv, ok := object.(*secretv1beta1.SecureValue); ok {
		return sv.Name
	}
	return ""
}
