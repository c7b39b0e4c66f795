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
)

// world is a cache with a decrypt service that a test moves: values come from fetch, the stream over TLS.
type world struct {
	*Cache
	*Client
	changes *changes

	mu     sync.Mutex
	value  string
	values map[string]int64 // versions and values instead of value
	fail   error
	asked  int
	names  [][]string    // of each request
	left   time.Duration // that the last one had
	during func()        // runs inside of a request when set
	clock  time.Time
}

// quick is timing for tests: what they do not wait for comes never.
var quick = timing{pause: time.Millisecond, silence: time.Hour, absent: time.Hour, patience: time.Hour}

// newWorld returns a world in which name a is followed: its uid and version are sent before it is there.
func newWorld(t *testing.T, change func(*CacheConfig)) *world {
	t.Helper()
	s := newServer(t)
	w := emptyWorld(t, s.client(t), s.changes, quick, change)
	w.changes.send("a", "uid-a", 1)
	_, cancel := w.follow.subscribe([]string{"a"})
	t.Cleanup(cancel)
	w.live(t, "a")
	return w
}

func emptyWorld(t *testing.T, c *Client, changes *changes, timing timing, change func(*CacheConfig)) *world {
	t.Helper()
	w := &world{Client: c, changes: changes, value: "one", clock: time.Unix(1000, 0)}
	config := NewCacheConfig("default")
	if change != nil {
		change(&config)
	}
	w.Cache = must(newCache(w, time.Minute, config, timing))
	w.now = func() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.clock }
	t.Cleanup(w.Close)
	return w
}

func (w *world) Get(ctx context.Context, name string) (Value, error) { return w.Cache.Get(ctx, name) }
func (w *world) Close()                                              { w.Cache.Close() }

// fetch is the decrypt service.
func (w *world) fetch(ctx context.Context, _ string, names []string) *results {
	w.mu.Lock()
	deadline, _ := ctx.Deadline()
	w.left = time.Until(deadline)
	w.asked++
	slices.Sort(names)
	w.names = append(w.names, names)
	got, during := &results{namespace: "default", values: map[string]Value{}, failed: map[string]error{}}, w.during
	for _, name := range names {
		now := w.changes.state(name)
		switch version, ok := w.values[name]; {
		case w.fail != nil:
			got.fail([]string{name}, w.fail)
		case w.values == nil:
			got.values[name] = answer(w.value, now.uid, now.version)
		case ok:
			got.values[name] = answer(fmt.Sprint(version), now.uid, version)
		default:
			got.fail([]string{name}, ErrNotFound)
		}
	}
	w.mu.Unlock()
	if during != nil {
		during()
	}
	return got
}

func answer(text, uid string, version int64) Value {
	value := newValue(text, version)
	value.uid = uid
	return value
}

func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// count is how many requests there were.
func (w *world) count() int { w.mu.Lock(); defer w.mu.Unlock(); return w.asked }

func until(t *testing.T, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}

func (w *world) live(t *testing.T, name string) {
	t.Helper()
	until(t, func() bool { return w.follow.state(name).live })
}

// tell sends an event about a and waits until the cache knows.
func (w *world) tell(t *testing.T, uid string, version int64) {
	t.Helper()
	w.changes.send("a", uid, version)
	until(t, func() bool { return w.follow.state("a") == state{true, uid, version} })
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
