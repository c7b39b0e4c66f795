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
)

func TestEventsDecideWhenToAsk(t *testing.T) {
	w := newWorld(t, nil)
	w.want(t, "one", 1)
	w.want(t, "one", 1)
	w.tell(t, "uid-a", 2)
	w.set(func() { w.value = "two" })
	w.want(t, "two", 2)
	w.want(t, "two", 2)
	w.tell(t, "another", 2)
	w.want(t, "two", 3)
	w.tell(t, "another", 2) // the list of decrypters was changed
	w.want(t, "two", 3)
	w.tell(t, "", 0)
	until(t, func() bool { return w.size() == 0 })
	w.set(func() { w.fail = ErrNotFound })
	w.wantError(t, ErrNotFound)
}

// size is how many values are kept.
func (w *world) size() int {
	w.Cache.mu.Lock()
	defer w.Cache.mu.Unlock()
	return len(w.entries)
}

// TestDeletedValueIsForgotten also where an old value would stand in for an unreachable server.
func TestDeletedValueIsForgotten(t *testing.T) {
	w := newWorld(t, func(c *CacheConfig) { c.MaxStale = time.Hour })
	w.want(t, "one", 1)
	w.set(func() { w.fail = ErrUnavailable })
	w.tell(t, "", 0)
	until(t, func() bool { return w.size() == 0 })
	w.wantError(t, ErrUnavailable)
	w.set(func() { w.fail = ErrNotFound })
	w.wantError(t, ErrNotFound)
}

// TestWhatTheStreamDeniesIsNotKept: a right that was taken away may still open a value for a moment.
func TestWhatTheStreamDeniesIsNotKept(t *testing.T) {
	w := newWorld(t, nil)
	w.tell(t, "", 0)
	w.want(t, "one", 1)
	w.want(t, "one", 2)
	w.set(func() { w.fail = ErrUnavailable })
	w.wantError(t, ErrUnavailable)
}

// A value that changes while it is fetched must not be taken for the newest.
func TestChangeDuringAFetch(t *testing.T) {
	w := newWorld(t, nil)
	w.set(func() {
		w.during = func() {
			w.set(func() { w.during, w.value = nil, "two" })
			w.tell(t, "uid-a", 2)
		}
	})
	w.want(t, "one", 1)
	w.want(t, "two", 2)
	w.want(t, "two", 2)
}

// An answer that comes late must not replace one of a later request.
func TestOvertakenAnswer(t *testing.T) {
	for name, late := range map[string]error{"value": nil, "denial": ErrNotFound} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, nil)
			w.set(func() {
				w.fail = late
				w.during = func() {
					w.set(func() { w.during, w.value, w.fail = nil, "two", nil })
					w.tell(t, "uid-a", 2)
					w.want(t, "two", 2)
				}
			})
			w.want(t, "two", 2)
			w.want(t, "two", 2)
		})
	}
}

func TestCallersShareARequest(t *testing.T) {
	w := newWorld(t, nil)
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
	w.want(t, "one", 1)
	w.tell(t, "uid-a", 2)
	w.set(func() { w.fail = fmt.Errorf("x: %w", ErrUnavailable) })
	w.want(t, "one", 2) // asked, and failed
	if w.left > refreshTimeout {
		t.Errorf("the caller waited up to %v for more than the old value", w.left)
	}
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
		w.want(t, "one", 1)
		w.tell(t, "uid-a", 2)
		w.set(func() { w.fail = denial })
		w.wantError(t, denial)
		w.set(func() { w.fail = ErrUnavailable })
		w.wantError(t, ErrUnavailable)
	}
}

func TestNothingStaleIsServedWhenNothingMayBe(t *testing.T) {
	w := newWorld(t, func(c *CacheConfig) { c.MaxStale = 0 })
	w.want(t, "one", 1)
	w.tell(t, "uid-a", 2)
	w.set(func() { w.fail = ErrUnavailable })
	w.wantError(t, ErrUnavailable)
}

func TestOldValuesAreAskedForAgain(t *testing.T) {
	w := newWorld(t, func(c *CacheConfig) { c.MaxAge = time.Hour })
	w.want(t, "one", 1)
	w.set(func() { w.clock = w.clock.Add(time.Hour - 1) })
	w.want(t, "one", 1)
	w.set(func() { w.clock = w.clock.Add(1); w.fail = ErrNotAuthorized })
	w.wantError(t, ErrNotAuthorized)
}

// What is evicted leaves the stream.
func TestMemoryIsBounded(t *testing.T) {
	w := newWorld(t, func(c *CacheConfig) { c.MaxEntries = 10 })
	names := numbered(100)
	for _, name := range names {
		w.changes.send(name, "uid", 1)
		if _, err := w.Get(t.Context(), name); err != nil {
			t.Fatal(err)
		}
	}
	if w.size() != 10 {
		t.Errorf("%d values are kept, want 10", w.size())
	}
	want := append([]string{"a"}, names[90:]...)
	until(t, func() bool { now := w.changes.now(); return len(now) == 1 && slices.Equal(now[0], want) })
}

func TestLeastUsedValueIsEvicted(t *testing.T) {
	w := newWorld(t, func(c *CacheConfig) { c.MaxEntries = 2 })
	w.changes.send("b", "uid", 1)
	w.changes.send("c", "uid", 1)
	w.want(t, "one", 1)
	for i, name := range []string{"b", "c"} {
		if _, err := w.Get(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		w.want(t, "one", i+2) // a is used, and stays
	}
}

func TestCloseEndsEverything(t *testing.T) {
	before := goleak.IgnoreCurrent()
	s := newServer(t)
	w := emptyWorld(t, s.client(t), s.changes, quick, nil)
	s.changes.send("a", "uid-a", 1)
	ended, seen := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for _, err := range w.Watch(t.Context(), "a") { // until Close
			if err != nil {
				t.Error(err)
			}
			close(seen)
		}
	}()
	<-seen
	w.Close()
	<-ended
	w.Close()
	w.wantError(t, ErrClosed)
	for _, err := range w.Watch(t.Context(), "a") {
		t.Errorf("a closed cache yields, %v", err)
	}
	if w.size() != 0 {
		t.Error("values are kept")
	}
	w.Client.Close()
	s.Close()
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
		if _, err := newCache(&world{}, time.Minute, config, quick); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
