// SPDX-License-Identifier: Apache-2.0

package client

import (
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1/secretwatchv1connect"
)

// inMemory runs a test with a loop over a in a world with the usual times, which has nothing to wait for but time.
func inMemory(t *testing.T, arrange func(*world, *piped), test func(*testing.T, *world, *piped, *watching)) {
	synctest.Test(t, func(t *testing.T) {
		changes := &changes{states: map[string]state{"a": {uid: "uid-a", version: 1}}, streams: map[*sending]struct{}{}}
		_, handler := secretwatchv1connect.NewSecureValueWatcherHandler(changes)
		p := &piped{handler: handler}
		c := &Client{watcher: secretwatchv1connect.NewSecureValueWatcherClient(p, "https://memory"), http: http.DefaultClient}
		w := emptyWorld(t, c, changes, usualTiming, nil)
		w.now = time.Now
		if arrange != nil {
			arrange(w, p)
		}
		test(t, w, p, w.watching(t, "a"))
		w.Close()
	})
}

// within wants WatchAll to yield something, not before the one and not after the other.
func (l *watching) within(from, to time.Duration, want string) {
	l.t.Helper()
	began := time.Now()
	l.want(want)
	if took := time.Since(began); took < from || took > to {
		l.t.Errorf("%q took %v, want %v to %v", want, took, from, to)
	}
}

func TestServerWithoutTheStream(t *testing.T) {
	inMemory(t, func(_ *world, p *piped) { p.serve(http.NotFoundHandler()) }, func(t *testing.T, w *world, p *piped, l *watching) {
		l.within(0, 200*time.Millisecond, "a=one")
		w.set(func() { w.value = "two" })
		l.within(9*time.Minute, 10*time.Minute, "a=two") // MaxAge
		w.want(t, "two", 3)
		w.want(t, "two", 4)
		w.set(func() { w.fail = ErrUnavailable })
		time.Sleep(11 * time.Minute) // the old value stands in
		w.set(func() { w.fail, w.value = nil, "two and a half" })
		l.within(0, 2*time.Second, "a=two and a half")
		_, handler := secretwatchv1connect.NewSecureValueWatcherHandler(w.changes)
		p.serve(handler)
		time.Sleep(5 * time.Minute)
		w.set(func() { w.value = "three" })
		w.tell(t, "uid-a", 2)
		l.within(0, time.Second, "a=three")
	})
}

func TestStreamThatIsDenied(t *testing.T) {
	inMemory(t, func(w *world, _ *piped) {
		w.fail, w.changes.refuse = ErrNotAuthorized, connect.NewError(connect.CodePermissionDenied, nil)
	}, func(t *testing.T, w *world, _ *piped, l *watching) {
		l.within(0, 200*time.Millisecond, " error secure value default/a: not authorized")
		w.wantError(t, ErrNotAuthorized)
		time.Sleep(9 * time.Minute)
		if asked, streams := w.count(), len(w.changes.requests()); asked != 2 || streams > 4 {
			t.Errorf("%d fetches and %d streams in nine minutes", asked, streams)
		}
		w.set(func() { w.fail = nil })
		w.changes.set(func() { w.changes.refuse = nil })
		l.within(0, 5*time.Minute, "a=one")
	})
}

// TestRightsThatAreWithdrawn: the server says that nothing is left and ends the stream. Other names get one soon.
func TestRightsThatAreWithdrawn(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, w *world, _ *piped, l *watching) {
		l.want("a=one")
		denied := connect.NewError(connect.CodePermissionDenied, nil)
		w.set(func() { w.fail = ErrNotAuthorized })
		w.changes.set(func() { w.changes.refuse = denied })
		w.changes.send("a", "", 0)
		l.within(0, time.Second, " error secure value default/a: not authorized")
		w.changes.cut(denied)
		time.Sleep(2 * time.Minute)
		if w.count() > 3 || len(w.changes.requests()) != 1 {
			t.Errorf("%d fetches and %d streams in two minutes", w.count(), len(w.changes.requests()))
		}
		w.set(func() { w.fail = nil })
		w.changes.set(func() { w.changes.refuse = nil })
		w.changes.send("b", "uid-b", 1)
		if _, err := w.Get(t.Context(), "b"); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if !w.follow.state("b").live {
			t.Error("b is not live")
		}
	})
}

// TestFetchThatFails while the stream is open is repeated without an event.
func TestFetchThatFails(t *testing.T) {
	inMemory(t, func(w *world, _ *piped) { w.fail = ErrUnavailable }, func(t *testing.T, w *world, _ *piped, l *watching) {
		l.within(0, time.Second, " error secure value default/a: unavailable")
		w.set(func() { w.fail = nil })
		l.within(0, 2*time.Second, "a=one")
		w.set(func() { w.fail, w.value = ErrUnavailable, "two" })
		w.tell(t, "uid-a", 2)
		time.Sleep(time.Minute)
		w.set(func() { w.fail = nil })
		l.within(0, 2*time.Second, "a=two")
	})
}

// TestServerAway: an old value stands in, then the loop hears of the outage once and of the server's return soon.
func TestServerAway(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, w *world, _ *piped, l *watching) {
		l.want("a=one")
		away := connect.NewError(connect.CodeUnavailable, nil)
		w.set(func() { w.fail = ErrUnavailable })
		w.changes.set(func() { w.changes.refuse = away })
		w.changes.cut(away)
		l.within(5*time.Minute, 6*time.Minute, " error secure value default/a: unavailable") // MaxStale
		asked, streams := w.count(), len(w.changes.requests())
		if asked < 280 || asked > 310 || streams < 20 || streams > 40 {
			t.Errorf("%d fetches and %d streams in five minutes", asked, streams)
		}
		time.Sleep(5 * time.Minute)
		w.set(func() { w.fail, w.value = nil, "two" })
		l.within(0, time.Second, "a=two")
		w.set(func() { w.value = "three" })
		l.within(0, 2*time.Second, "a=three") // without a stream
		w.changes.set(func() { w.changes.refuse = nil })
		time.Sleep(15 * time.Second)
		w.want(t, "three", w.count())
	})
}

func TestStreamsOfADay(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, w *world, _ *piped, l *watching) {
		l.within(0, 200*time.Millisecond, "a=one")
		for range 24 * 120 { // heartbeats; each hour the server ends the stream
			time.Sleep(30 * time.Second)
			w.changes.beat()
			if synctest.Wait(); time.Now().Second() == 0 && time.Now().Minute() == 0 {
				w.changes.cut(nil)
				time.Sleep(200 * time.Millisecond)
				if !w.follow.state("a").live {
					t.Fatal("the stream is not back at once")
				}
			}
		}
		if streams, age := len(w.changes.requests()), 24*6; streams > 25 || w.count() > age+1 {
			t.Errorf("%d streams and %d fetches in a day, want one stream an hour and one fetch each MaxAge", streams, w.count())
		}
	})
}

func TestSilentStreamIsDead(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, w *world, _ *piped, l *watching) {
		l.want("a=one")
		time.Sleep(89 * time.Second)
		if got := len(w.changes.requests()); got != 1 {
			t.Errorf("%d streams, want one", got)
		}
		time.Sleep(2 * time.Second)
		if got := len(w.changes.requests()); got != 2 {
			t.Errorf("%d streams, want another", got)
		}
	})
}

// TestSlowStart: WatchAll does not wait long for a stream that does not begin.
func TestSlowStart(t *testing.T) {
	inMemory(t, func(w *world, _ *piped) { w.changes.hold = make(chan struct{}) }, func(t *testing.T, w *world, _ *piped, l *watching) {
		l.within(time.Second, time.Second, "a=one")
		w.want(t, "one", 2)
		if time.Sleep(91 * time.Second); len(w.changes.requests()) != 2 {
			t.Errorf("%d streams, want another after 90 s", len(w.changes.requests()))
		}
		close(w.changes.hold)
		synctest.Wait()
		if !w.follow.state("a").live {
			t.Error("a is not live")
		}
	})
}

// TestChangesAreGathered: what changes at about the same time is fetched by one call.
func TestChangesAreGathered(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, w *world, _ *piped, l *watching) {
		l.want("a=one")
		l.end()
		w.changes.send("b", "uid-b", 1)
		l = w.watching(t, "a", "b")
		l.want("a=one b=one")
		before := w.count()
		w.set(func() { w.value = "two" })
		w.changes.send("a", "uid-a", 2)
		time.Sleep(40 * time.Millisecond)
		w.changes.send("b", "uid-b", 2)
		l.want("a=two b=two")
		if got := w.count() - before; got != 1 {
			t.Errorf("%d fetches, want one", got)
		}
	})
}

// TestNamesAreCollected: names that come one after the other make few streams.
func TestNamesAreCollected(t *testing.T) {
	inMemory(t, nil, func(t *testing.T, w *world, _ *piped, l *watching) {
		l.want("a=one")
		for _, name := range numbered(127) {
			w.changes.send(name, "uid", 1)
			if _, err := w.Get(t.Context(), name); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(15 * time.Second)
		if got := w.changes.lengths(); !slices.Equal(got, []int{128}) || len(w.changes.requests()) > 8 {
			t.Errorf("streams of %v names, %d were asked for", got, len(w.changes.requests()))
		}
	})
}
