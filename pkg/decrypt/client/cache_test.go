// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	clienttesting "k8s.io/client-go/testing"

	secretv1beta1 "github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/fake"
)

// world is a cache with an API and a decrypt service that a test moves.
type world struct {
	*Cache
	api *fake.Clientset

	mu     sync.Mutex
	value  string
	fail   error
	asked  int
	during func() // runs inside of a request when set
	clock  time.Time
	down   bool // lists and watches fail
	events []*watch.FakeWatcher
}

func newWorld(t *testing.T, change func(*CacheConfig)) *world {
	t.Helper()
	w := &world{api: fake.NewClientset(), value: "one", clock: time.Unix(1000, 0)}
	w.api.PrependReactor("list", "securevalues", func(clienttesting.Action) (bool, runtime.Object, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.down {
			return true, nil, errors.New("the API is down")
		}
		return false, nil, nil
	})
	w.api.PrependWatchReactor("securevalues", func(clienttesting.Action) (bool, watch.Interface, error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.down {
			return true, nil, errors.New("the API is down")
		}
		events := watch.NewFakeWithChanSize(100, false)
		w.events = append(w.events, events)
		return true, events, nil
	})
	config := NewCacheConfig("default")
	if change != nil {
		change(&config)
	}
	c, err := newCache(w, time.Minute, w.api, config)
	if err != nil {
		t.Fatal(err)
	}
	c.now = func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.clock }
	w.Cache = c
	t.Cleanup(c.Close)
	w.until(t, c.watched.running)
	return w
}

// GetOne is the decrypt service.
func (w *world) GetOne(context.Context, string, string) (Value, error) {
	w.mu.Lock()
	w.asked++
	value, err, during := w.value, w.fail, w.during
	w.mu.Unlock()
	if during != nil {
		during()
	}
	if err != nil {
		return Value{}, err
	}
	return newValue(value), nil
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func (w *world) until(t *testing.T, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

func object(name string, version int64, decrypters ...string) *secretv1beta1.SecureValue {
	return &secretv1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-" + name), ResourceVersion: fmt.Sprint(version + 100),
			Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"},
		},
		Spec:   secretv1beta1.SecureValueSpec{Description: "x", Decrypters: decrypters},
		Status: secretv1beta1.SecureValueStatus{Version: version},
	}
}

// tell sends an event and waits until the cache knows.
func (w *world) tell(t *testing.T, kind watch.EventType, sv *secretv1beta1.SecureValue) {
	t.Helper()
	w.mu.Lock()
	events := w.events[len(w.events)-1]
	w.mu.Unlock()
	events.Action(kind, sv)
	w.until(t, func() bool {
		known := w.watched.state(sv.Name)
		return known.watched == (kind != watch.Deleted) && (kind == watch.Deleted || known.version == sv.Status.Version && known.uid == sv.UID &&
			known.decrypters == joined(sv.Spec.Decrypters))
	})
}

func joined(decrypters []string) string {
	text := ""
	for i, d := range slices.Sorted(slices.Values(decrypters)) {
		if i > 0 {
			text += ","
		}
		text += d
	}
	return text
}

// want gets a value and wants it with so many requests so far.
func (w *world) want(t *testing.T, value string, asked int) {
	t.Helper()
	got, err := w.Get(t.Context(), "a")
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil || got.Expose() != value || w.asked != asked {
		t.Errorf("Get = %q, %v after %d requests; want %q after %d", got.Expose(), err, w.asked, value, asked)
	}
}

func (w *world) wantError(t *testing.T, want error) {
	t.Helper()
	if got, err := w.Get(t.Context(), "a"); !errors.Is(err, want) || got.Expose() != "" {
		t.Errorf("Get = %q, %v; want %v", got.Expose(), err, want)
	}
}

func TestMetadataDecidesWhenToAsk(t *testing.T) {
	w := newWorld(t, nil)
	w.tell(t, watch.Added, object("a", 1, "k6-cloud"))
	w.want(t, "one", 1)
	w.want(t, "one", 1)
	w.tell(t, watch.Modified, object("a", 2, "k6-cloud"))
	w.set(func() { w.value = "two" })
	w.want(t, "two", 2)
	w.want(t, "two", 2)
	w.tell(t, watch.Modified, object("a", 2, "k6-cloud", "synthetic-monitoring"))
	w.want(t, "two", 3)
	again := object("a", 2, "k6-cloud", "synthetic-monitoring")
	again.UID = "another"
	w.tell(t, watch.Modified, again)
	w.want(t, "two", 4)
	relabelled := again.DeepCopy()
	relabelled.Labels, relabelled.ResourceVersion = map[string]string{"x": "y"}, "999"
	w.tell(t, watch.Modified, relabelled)
	w.want(t, "two", 4)
	w.tell(t, watch.Deleted, again)
	if w.entries.Len() != 0 {
		t.Error("the value of a deleted object is kept")
	}
	w.set(func() { w.fail = ErrNotFound })
	w.wantError(t, ErrNotFound)
}

// TestDeletedValueIsForgotten while finalizers hold its object, also where an old value would stand in for an
// unreachable server.
func TestDeletedValueIsForgotten(t *testing.T) {
	w := newWorld(t, func(c *CacheConfig) { c.MaxStale = time.Hour })
	held := object("a", 1, "k6-cloud")
	w.tell(t, watch.Added, held)
	w.want(t, "one", 1)
	deleted := held.DeepCopy()
	deleted.DeletionTimestamp, deleted.ResourceVersion = new(metav1.Now()), "999"
	w.mu.Lock()
	events := w.events[len(w.events)-1]
	w.fail = ErrUnavailable
	w.mu.Unlock()
	events.Modify(deleted)
	w.until(t, func() bool { w.Cache.mu.Lock(); defer w.Cache.mu.Unlock(); return w.entries.Len() == 0 })
	w.wantError(t, ErrUnavailable)
	w.set(func() { w.fail = ErrNotFound })
	w.wantError(t, ErrNotFound)
}

func TestUnwatchedNamesAreAskedForEachTime(t *testing.T) {
	w := newWorld(t, nil)
	w.want(t, "one", 1)
	w.want(t, "one", 2)
}

// A value that changes while it is fetched must not be taken for the newest.
func TestChangeDuringAFetch(t *testing.T) {
	w := newWorld(t, nil)
	w.tell(t, watch.Added, object("a", 1))
	w.set(func() {
		w.during = func() {
			w.set(func() { w.during, w.value = nil, "two" })
			w.tell(t, watch.Modified, object("a", 2))
		}
	})
	w.want(t, "one", 1)
	w.want(t, "two", 2)
	w.want(t, "two", 2)
}

func TestCallersShareARequest(t *testing.T) {
	w := newWorld(t, nil)
	w.tell(t, watch.Added, object("a", 1))
	release, entered := make(chan struct{}), make(chan struct{}, 100)
	w.set(func() { w.during = func() { entered <- struct{}{}; <-release } })
	impatient, leave := context.WithCancel(t.Context())
	var all sync.WaitGroup
	left := make(chan error)
	go func() {
		_, err := w.Get(impatient, "a")
		left <- err
	}()
	<-entered
	for range 20 {
		all.Go(func() {
			if got, err := w.Get(t.Context(), "a"); err != nil || got.Expose() != "one" {
				t.Errorf("Get = %q, %v", got.Expose(), err)
			}
		})
	}
	leave() // the request goes on for the others
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("Get of the caller who left = %v", err)
	}
	close(release)
	all.Wait()
	w.want(t, "one", 1)
}

func TestOldValueStandsInWhileTheServiceIsOutOfReach(t *testing.T) {
	w := newWorld(t, func(c *CacheConfig) { c.MaxStale = time.Minute })
	w.tell(t, watch.Added, object("a", 1))
	w.want(t, "one", 1)
	w.tell(t, watch.Modified, object("a", 2))
	w.set(func() { w.fail = fmt.Errorf("x: %w", ErrUnavailable) })
	w.want(t, "one", 2) // asked, and failed
	w.want(t, "one", 2) // not asked again at once
	w.set(func() { w.clock = w.clock.Add(refreshPause) })
	w.want(t, "one", 3)
	w.set(func() { w.clock = w.clock.Add(time.Minute) })
	w.wantError(t, ErrUnavailable)
	w.wantError(t, ErrUnavailable)
	w.set(func() { w.fail, w.value = nil, "two" })
	w.want(t, "two", 6)
	w.want(t, "two", 6)
}

func TestDeniedValueIsNeverServedAgain(t *testing.T) {
	for _, denial := range []error{ErrNotFound, ErrNotAuthorized, ErrUnauthenticated, ErrDecryptionFailed} {
		w := newWorld(t, nil)
		w.tell(t, watch.Added, object("a", 1))
		w.want(t, "one", 1)
		w.tell(t, watch.Modified, object("a", 2))
		w.set(func() { w.fail = denial })
		w.wantError(t, denial)
		w.set(func() { w.fail = ErrUnavailable })
		w.wantError(t, ErrUnavailable)
	}
}

func TestNothingStaleIsServedWhenNothingMayBe(t *testing.T) {
	w := newWorld(t, func(c *CacheConfig) { c.MaxStale = 0 })
	w.tell(t, watch.Added, object("a", 1))
	w.want(t, "one", 1)
	w.tell(t, watch.Modified, object("a", 2))
	w.set(func() { w.fail = ErrUnavailable })
	w.wantError(t, ErrUnavailable)
}

func TestWithoutAWatchEveryGetAsks(t *testing.T) {
	w := newWorld(t, nil)
	w.tell(t, watch.Added, object("a", 1))
	w.want(t, "one", 1)
	w.set(func() { w.down = true; w.events[len(w.events)-1].Stop() })
	w.until(t, func() bool { return !w.watched.running() })
	w.set(func() { w.value = "two" })
	w.want(t, "two", 2)
	w.want(t, "two", 3)
	w.set(func() { w.fail = ErrUnavailable })
	w.want(t, "two", 4) // the newest that was seen stands in
	w.set(func() { w.down, w.fail = false, nil })
	w.until(t, w.watched.running)
}

func TestOldValuesAreAskedForAgain(t *testing.T) {
	w := newWorld(t, func(c *CacheConfig) { c.MaxAge = time.Hour })
	w.tell(t, watch.Added, object("a", 1))
	w.want(t, "one", 1)
	w.set(func() { w.clock = w.clock.Add(time.Hour - 1) })
	w.want(t, "one", 1)
	w.set(func() { w.clock = w.clock.Add(1); w.fail = ErrNotAuthorized })
	w.wantError(t, ErrNotAuthorized)
}

func TestMemoryIsBounded(t *testing.T) {
	w := newWorld(t, func(c *CacheConfig) { c.MaxEntries = 10 })
	for i := range 100 {
		name := fmt.Sprint("n-", i)
		w.tell(t, watch.Added, object(name, 1, "k6-cloud"))
		if _, err := w.Get(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if w.entries.Len() != 10 {
		t.Errorf("%d values are kept, want 10", w.entries.Len())
	}
	kept := w.watched.informer.GetStore().List()[0].(*secretv1beta1.SecureValue)
	if kept.Labels != nil || kept.Annotations != nil || kept.Spec.Description != "" {
		t.Errorf("more metadata is kept than needed: %+v", kept)
	}
}

func TestWatch(t *testing.T) {
	w := newWorld(t, nil)
	w.tell(t, watch.Added, object("a", 1))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := make(chan string)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for value, err := range w.Watch(ctx, "a") {
			if err != nil {
				seen <- "error " + err.Error()
				continue
			}
			seen <- value.Expose()
		}
	}()
	wantNext := func(want string) {
		t.Helper()
		if got := <-seen; got != want {
			t.Errorf("Watch yields %q, want %q", got, want)
		}
	}
	wantNext("one")
	w.set(func() { w.value = "two" })
	w.tell(t, watch.Modified, object("a", 2))
	wantNext("two")
	w.tell(t, watch.Modified, object("a", 3)) // the same value written again
	w.set(func() { w.fail = ErrNotFound })
	w.tell(t, watch.Deleted, object("a", 3))
	wantNext("error not found")
	w.set(func() { w.fail, w.value = nil, "three" })
	w.tell(t, watch.Added, object("a", 1))
	wantNext("three")
	cancel()
	<-ended
	if len(w.watched.subscribers) != 0 {
		t.Error("a subscriber is left behind")
	}
}

func TestWatchStopsWithTheLoop(t *testing.T) {
	w := newWorld(t, nil)
	for _, err := range w.Watch(t.Context(), "a") {
		if err != nil {
			t.Error(err)
		}
		break
	}
	if len(w.watched.subscribers) != 0 {
		t.Error("a subscriber is left behind")
	}
}

func TestCloseEndsEverything(t *testing.T) {
	before := goleak.IgnoreCurrent()
	w := newWorld(t, nil)
	w.tell(t, watch.Added, object("a", 1))
	w.want(t, "one", 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for _, err := range w.Watch(t.Context(), "a") { // until Close
			if err != nil {
				t.Error(err)
			}
		}
	}()
	w.Close()
	<-ended
	w.Close()
	w.wantError(t, ErrClosed)
	if w.entries.Len() != 0 {
		t.Error("values are kept")
	}
	goleak.VerifyNone(t, before)
}

func TestCacheConfigFaults(t *testing.T) {
	for name, spoil := range map[string]func(*CacheConfig){
		"no namespace":       func(c *CacheConfig) { c.Namespace = "" },
		"no entries":         func(c *CacheConfig) { c.MaxEntries = 0 },
		"no age":             func(c *CacheConfig) { c.MaxAge = 0 },
		"negative staleness": func(c *CacheConfig) { c.MaxStale = -1 },
	} {
		config := NewCacheConfig("default")
		spoil(&config)
		if _, err := newCache(&world{}, time.Minute, fake.NewClientset(), config); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
