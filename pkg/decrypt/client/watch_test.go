// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// watching is a loop over what a cache yields.
type watching struct {
	t     *testing.T
	seen  chan string
	ended chan struct{}
	stop  context.CancelFunc
}

// watch yields values as NAME=VALUE, and errors behind them.
func (w *world) watching(t *testing.T, names ...string) *watching {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &watching{t, make(chan string), make(chan struct{}), stop}
	go func() {
		defer close(l.ended)
		for values, err := range w.WatchAll(ctx, names...) {
			text := strings.Join(exposed(values), " ")
			if err != nil {
				text += " error " + strings.ReplaceAll(err.Error(), "\n", "; ")
			}
			select {
			case l.seen <- text:
			case <-ctx.Done():
			}
		}
	}()
	t.Cleanup(l.end)
	return l
}

func (l *watching) end() { l.stop(); <-l.ended }

func (l *watching) want(want string) {
	l.t.Helper()
	if got := <-l.seen; got != want {
		l.t.Errorf("WatchAll yields %q, want %q", got, want)
	}
}

func TestWatch(t *testing.T) {
	w := newWorld(t, nil)
	next, stop := iter.Pull2(w.Watch(t.Context(), "a"))
	defer stop()
	want := func(want string, fail error) {
		t.Helper()
		if got, err, ok := next(); got.Expose() != want || !errors.Is(err, fail) || !ok {
			t.Errorf("Watch yields %q, %v, want %q, %v", got.Expose(), err, want, fail)
		}
	}
	want("one", nil)
	w.set(func() { w.value = "two" })
	w.tell(t, "uid-a", 2)
	want("two", nil)
	w.tell(t, "uid-a", 3) // the same value written again
	w.set(func() { w.fail = ErrNotFound })
	w.tell(t, "", 0)
	want("", ErrNotFound)
	w.set(func() { w.fail, w.value = nil, "three" })
	w.tell(t, "uid-b", 1)
	want("three", nil)
	stop()
	if subscribers := len(w.follow.names["a"].subscribers); subscribers != 1 { // that of newWorld
		t.Errorf("%d subscribers, one is left behind", subscribers)
	}
}

func (w *world) wantNames(t *testing.T, want ...string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var got []string
	for _, names := range w.names {
		got = append(got, strings.Join(names, " "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("requests %q, want %q", got, want)
	}
}

func TestWatchAll(t *testing.T) {
	w := newWorld(t, nil)
	w.set(func() { w.values = map[string]int64{"a": 1, "b": 1, "c": 1} })
	for _, name := range []string{"b", "c"} {
		w.changes.send(name, "uid", 1)
	}
	l := w.watching(t, "c", "b", "a", "b", "absent")
	l.want("a=1 b=1 c=1 error secure value default/absent: not found")
	w.wantNames(t, "a absent b c")

	// Two names change while the loop body runs: one call brings both, and nothing else.
	w.set(func() { w.values["a"] = 2 })
	w.tell(t, "uid-a", 2)
	until(t, func() bool { return w.count() == 2 })
	w.set(func() { w.values["b"], w.values["c"] = 2, 2 })
	w.changes.send("b", "uid", 2)
	w.changes.send("c", "uid", 2)
	until(t, func() bool { return w.follow.state("b").version == 2 && w.follow.state("c").version == 2 })
	l.want("a=2 b=1 c=1 error secure value default/absent: not found")
	l.want("a=2 b=2 c=2 error secure value default/absent: not found")
	w.wantNames(t, "a absent b c", "a", "b c")

	w.set(func() { w.values["absent"] = 1 })
	w.changes.send("absent", "uid", 1)
	l.want("a=2 absent=1 b=2 c=2")
	w.set(func() { delete(w.values, "a") })
	w.tell(t, "", 0)
	l.want("absent=1 b=2 c=2 error secure value default/a: not found")
	w.set(func() { w.values["b"] = 3 })
	w.changes.set(func() { w.changes.states["b"] = state{uid: "uid", version: 3} }) // while no stream is open
	w.changes.cut(nil)
	l.want("absent=1 b=3 c=2 error secure value default/a: not found")
	w.wantNames(t, "a absent b c", "a", "b c", "absent", "a", "b")
	for values, err := range w.WatchAll(t.Context()) {
		if len(values) != 0 || err != nil {
			t.Errorf("WatchAll of no names yields %v, %v", values, err)
		}
		break
	}
}

func TestWatchOfInvalidNames(t *testing.T) {
	w := newWorld(t, nil)
	for _, name := range []string{"", "A", "a_b", "a/b", "-a", "a.", "a..b", strings.Repeat("a", 254)} {
		ended := 0
		for values, err := range w.WatchAll(t.Context(), "a", name) {
			if ended++; values != nil || err == nil || !strings.Contains(err.Error(), "names[1]") {
				t.Errorf("%q: WatchAll yields %v, %v", name, values, err)
			}
		}
		if ended != 1 {
			t.Errorf("%q: WatchAll yields %d times", name, ended)
		}
	}
	l := w.watching(t, "a.b-c.d9", strings.Repeat("a", 253))
	l.want("a.b-c.d9=one " + strings.Repeat("a", 253) + "=one")
}

func TestManyNamesShareStreams(t *testing.T) {
	s := newServer(t)
	w := emptyWorld(t, s.client(t), s.changes, quick, nil)
	names := numbered(300)
	w.set(func() { w.values = map[string]int64{} })
	for i, name := range names {
		w.values[name] = int64(i)
		w.changes.send(name, "uid", int64(i)+1)
	}
	for values, err := range w.WatchAll(t.Context(), names...) {
		if err != nil || len(values) != 300 || values["n-299"].Version() != 299 {
			t.Errorf("WatchAll yields %d values, %v", len(values), err)
		}
		break
	}
	if got := w.changes.lengths(); !slices.Equal(got, []int{44, 128, 128}) || len(w.changes.requests()) != 3 || w.count() != 1 {
		t.Errorf("streams of %v names, %d were asked for, %d fetches", got, len(w.changes.requests()), w.count())
	}
	for _, name := range names { // what nobody needs any more is in no stream
		w.forget(name)
	}
	until(t, func() bool { return len(w.changes.now()) == 0 })
	w.follow.mu.Lock()
	defer w.follow.mu.Unlock()
	if len(w.follow.names)+len(w.follow.groups) != 0 {
		t.Error("names or streams are left behind")
	}
}

// TestAnswersOfEarlierFetches of other callers, and old values that stand in, replace nothing.
func TestAnswersOfEarlierFetches(t *testing.T) {
	w := newWorld(t, nil)
	w.want(t, "one", 1)
	answers := map[string]entry{"a": {value: newValue("newer", 2), fetch: 99}}
	w.renew(t.Context(), []string{"a"}, answers)
	w.tell(t, "uid-a", 2)
	w.set(func() { w.fail = ErrUnavailable })
	w.renew(t.Context(), []string{"a"}, answers)
	if got := answers["a"].value.Expose(); got != "newer" || w.count() != 2 {
		t.Errorf("the answer is %q after %d fetches", got, w.count())
	}
}

func TestErrorOfAWholeCall(t *testing.T) {
	first, second := fmt.Errorf("port 1: %w", ErrUnavailable), fmt.Errorf("port 2: %w", ErrUnavailable)
	_, prints, err := set([]string{"a", "b"}, map[string]entry{"a": {err: first}, "b": {err: first}})
	if err.Error() != first.Error() {
		t.Errorf("error %q, want it once", err)
	}
	if _, again, _ := set([]string{"a", "b"}, map[string]entry{"a": {err: second}, "b": {err: second}}); !maps.Equal(prints, again) {
		t.Errorf("%v and %v are of one kind", prints, again)
	}
}

// TestNeverBack: whatever answers and events meet, versions only grow, and the last one arrives.
func TestNeverBack(t *testing.T) {
	const last = 200
	s := newServer(t)
	w := emptyWorld(t, s.client(t), s.changes, quick, func(c *CacheConfig) { c.MaxEntries = 3 })
	names := numbered(4)
	w.values = map[string]int64{}
	nap := func() { time.Sleep(rand.N(2 * time.Millisecond)) }
	w.during = nap
	var readers, writers sync.WaitGroup
	finished, finish := context.WithCancel(t.Context())
	for _, name := range names {
		w.values[name] = 1
		w.changes.send(name, "uid", 1)
	}
	for _, name := range names {
		writers.Go(func() {
			for version := range int64(last) {
				w.set(func() { w.values[name] = version + 1 })
				w.changes.send(name, "uid", version+1)
				nap()
			}
		})
		readers.Go(func() {
			for finished.Err() == nil {
				if _, err := w.Get(t.Context(), name); err != nil { //nolint:contextcheck // finished is for the end alone
					t.Error(err)
				}
				nap()
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			versions := map[string]int64{}
			for values, err := range w.WatchAll(t.Context(), names...) {
				if err != nil {
					t.Error(err)
				}
				for name, value := range values {
					if value.Version() < versions[name] {
						t.Errorf("%s goes from version %d back to %d", name, versions[name], value.Version())
					}
					versions[name] = value.Version()
				}
				if slices.Min(slices.Collect(maps.Values(versions))) == last {
					return
				}
				w.changes.cut([]error{nil, errors.New("cut")}[rand.IntN(2)])
			}
		})
	}
	writers.Wait()
	finish()
	readers.Wait()
}
