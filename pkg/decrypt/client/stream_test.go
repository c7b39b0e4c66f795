// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"

	"connectrpc.com/connect"
)

func TestGetFollowsWhatItGot(t *testing.T) {
	s := newServer(t)
	w := emptyWorld(t, s.client(t), s.changes, quick, nil)
	w.changes.send("a", "uid-a", 1)
	w.set(func() { w.fail = ErrNotFound })
	w.wantError(t, ErrNotFound)
	w.set(func() { w.fail = nil })
	w.want(t, "one", 2)
	w.live(t, "a")
	w.want(t, "one", 2) // the first event is about what was fetched
	_, cancel := w.follow.subscribe([]string{"a"})
	cancel() // a is still kept
	w.want(t, "one", 2)
	if got := w.changes.requests(); len(got) != 1 || !slices.Equal(got[0], []string{"a"}) {
		t.Errorf("streams of %v were asked for, want one of a", got)
	}
}

// TestFirstEventOfANewerValue: what was fetched before the first event may be old, also where the number is the same.
func TestFirstEventOfANewerValue(t *testing.T) {
	for _, newer := range []state{{uid: "uid-a", version: 2}, {uid: "uid-b", version: 1}} {
		s := newServer(t)
		w := emptyWorld(t, s.client(t), s.changes, quick, nil)
		w.changes.send("a", "uid-a", 1)
		w.set(func() {
			w.during = func() {
				w.set(func() { w.during, w.value = nil, "two" })
				w.changes.send("a", newer.uid, newer.version)
			}
		})
		w.want(t, "one", 1)
		w.live(t, "a")
		w.want(t, "two", 2)
	}
}

func TestOldStreamServesUntilTheNewOneIsComplete(t *testing.T) {
	w := newWorld(t, nil)
	w.want(t, "one", 1)
	hold := make(chan struct{})
	w.changes.set(func() { w.changes.hold = hold })
	w.changes.send("b", "uid-b", 1)
	_, cancel := w.follow.subscribe([]string{"b"})
	defer cancel()
	until(t, func() bool { return len(w.changes.now()) == 2 })
	w.want(t, "one", 1)
	w.tell(t, "uid-a", 2)
	w.want(t, "one", 2)
	if w.follow.state("b").live {
		t.Error("b is live before its stream has sent anything")
	}
	close(hold)
	w.live(t, "b")
	until(t, func() bool { return len(w.changes.now()) == 1 })
	w.tell(t, "uid-a", 2) // what the new stream sent first is from before the change
	w.want(t, "one", 2)
	w.tell(t, "uid-a", 3)
	w.want(t, "one", 3)
}

func TestStreamsThatEndComeBack(t *testing.T) {
	w := newWorld(t, nil)
	w.want(t, "one", 1)
	for i, end := range []error{nil, connect.NewError(connect.CodeUnavailable, nil), connect.NewError(connect.CodeUnauthenticated, nil)} {
		w.changes.cut(end)
		until(t, func() bool { return len(w.changes.requests()) == i+2 })
		w.live(t, "a")
		w.want(t, "one", 1) // uid and version are the same
	}
	_, cancel := w.follow.subscribe([]string{"b"}) // in the same stream, after a
	defer cancel()
	w.live(t, "b")
	l := w.watching(t, "a")
	l.want("a=one")
	w.set(func() { w.value = "two" })
	w.changes.set(func() { w.changes.states["a"] = state{uid: "uid-a", version: 2} })
	w.changes.cut(nil)
	l.want("a=two")
	w.want(t, "two", 2)
}

func TestWithoutAStreamEveryGetAsks(t *testing.T) {
	w := newWorld(t, nil)
	w.want(t, "one", 1)
	w.changes.set(func() { w.changes.refuse = connect.NewError(connect.CodeUnavailable, nil) })
	w.changes.cut(nil)
	until(t, func() bool { return w.follow.fault("a") != nil })
	w.set(func() { w.value = "two" })
	w.want(t, "two", 2)
	w.want(t, "two", 3)
	w.set(func() { w.fail = ErrUnavailable })
	w.want(t, "two", 4) // the newest that was seen stands in
	w.changes.set(func() { w.changes.refuse = nil })
	w.live(t, "a")
	if w.follow.fault("a") != nil {
		t.Error("the fault stays")
	}
}

// TestRotationsWhileFollowing: neither another token nor another CA takes a restart.
func TestRotationsWhileFollowing(t *testing.T) {
	s := newServer(t)
	s.changes.send("a", "uid-a", 1)
	w := emptyWorld(t, s.client(t), s.changes, quick, nil)
	l := w.watching(t, "a")
	l.want("a=one")
	for i, rotate := range []func(){
		func() {
			writeFile(t, s.tokenFile, "token-2")
			s.mu.Lock()
			s.token = "token-2"
			s.mu.Unlock()
			s.changes.cut(nil)
		},
		func() {
			ca := newAuthority(t, "next")
			writeFile(t, s.caFile, ca.pem())
			s.present(ca.sign(t, "server", nil), nil)
			s.CloseClientConnections()
		},
	} {
		rotate()
		until(t, func() bool { return len(s.changes.requests()) == i+2 })
		w.live(t, "a")
		w.set(func() { w.value = []string{"two", "three"}[i] })
		w.tell(t, "uid-a", int64(i)+2)
		l.want("a=" + w.value)
	}
}

func TestErrorsOfStreams(t *testing.T) {
	for err, want := range map[error]bool{
		nil: false, errors.New("x"): false, connect.NewError(connect.CodeUnavailable, nil): false,
		connect.NewError(connect.CodeUnimplemented, nil): true, connect.NewError(connect.CodePermissionDenied, nil): true, connect.NewError(connect.CodeInvalidArgument, nil): true,
	} {
		if absent(err) != want {
			t.Errorf("absent(%v) = %v", err, !want)
		}
	}
}

func TestVersions(t *testing.T) {
	s := newServer(t)
	s.changes.send("a", "uid-a", 3)
	config := s.config()
	config.TokenFile = ""
	type key struct{}
	config.Token = func(ctx context.Context) string { token, _ := ctx.Value(key{}).(string); return token }
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	known := context.WithValue(t.Context(), key{}, "token-1")
	got, err := c.Versions(known, "default", "b", "a", "a")
	if err != nil || !maps.Equal(got, map[string]string{"a": "3.uid-a", "b": ""}) {
		t.Errorf("Versions = %v, %v", got, err)
	}
	until(t, func() bool { return len(s.changes.now()) == 0 })
	if got, err := c.Versions(t.Context(), "default", "a"); got != nil || !errors.Is(err, ErrUnauthenticated) {
		t.Errorf("with another token: %v, %v", got, err)
	}
	s.changes.set(func() { s.changes.refuse = connect.NewError(connect.CodePermissionDenied, nil) })
	if got, err := c.Versions(known, "default", "a"); got != nil || !errors.Is(err, ErrNotAuthorized) {
		t.Errorf("a caller without permission: %v, %v", got, err)
	}
}
