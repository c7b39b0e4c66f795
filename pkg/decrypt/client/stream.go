// SPDX-License-Identifier: Apache-2.0

package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"connectrpc.com/connect"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1"
)

// Versions returns, for up to 128 names, a text that changes with the value and contains nothing of it. It is empty for
// a name under which the caller can open nothing. The server opens no value, and writes one audit record for all names.
//
// A value that Get returns afterwards is that of the version, or a newer one. Failed calls are not retried.
func (c *Client) Versions(ctx context.Context, namespace string, names ...string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	wanted := slices.Compact(slices.Sorted(slices.Values(names)))
	events, err := c.watch(ctx, namespace, wanted)
	if err != nil {
		return nil, callError(err)
	}
	versions := make(map[string]string, len(wanted))
	for len(versions) < len(wanted) && events.Receive() {
		event := events.Msg()
		if event.GetVersion() > 0 {
			versions[event.GetName()] = fmt.Sprintf("%d.%s", event.GetVersion(), event.GetUid())
		} else if event.GetName() != "" {
			versions[event.GetName()] = ""
		}
	}
	cancel() // Close would wait for the end of the stream
	_ = events.Close()
	if len(versions) < len(wanted) {
		return nil, callError(cmp.Or(events.Err(), errEnded))
	}
	return versions, nil
}

// group is the names that share a stream.
type group struct {
	names map[string]struct{}
	// changed has an element when names need another stream.
	changed chan struct{}
	// current is the stream that counts: nil while none has sent the states of all its names.
	current *stream
	// fault is why the last stream could not be opened, nil when it could.
	fault error
}

// stream is an open stream and what it has sent.
type stream struct {
	names  []string
	states map[string]state
	cancel context.CancelFunc
	ready  chan struct{} // closed when it has sent the states of all names
}

// run opens one stream after the other for a group, until it has no names.
func (f *follower) run(ctx context.Context, g *group) {
	pause := backoff{f.timing.pause, mostPause}
	delay := pause.step()
	for sleep(ctx, delay) {
		s := f.next(g)
		if s == nil {
			return
		}
		began, ended := time.Now(), make(chan error, 1)
		f.tasks.Go(func() { ended <- f.receive(ctx, g, s) })
		var err error
		select {
		case err = <-ended:
		case <-s.ready:
			select {
			case err = <-ended:
			case <-g.changed: // s counts until the next one does
			}
		}
		if time.Since(began) >= settled {
			pause.next = f.timing.pause
		}
		delay = pause.step()
		if absent(err) {
			select {
			case <-ctx.Done():
			case <-g.changed: // of other names the caller may have some
			case <-time.After((&backoff{next: f.timing.absent}).step()):
			}
		}
	}
}

// next returns the stream to open for the names of now, nil when there are none: then the group ends.
func (f *follower) next(g *group) *stream {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-g.changed:
	default:
	}
	if len(g.names) == 0 {
		f.groups = slices.DeleteFunc(f.groups, func(other *group) bool { return other == g })
		if g.current != nil {
			g.current.cancel()
		}
		return nil
	}
	names := slices.Sorted(maps.Keys(g.names))
	return &stream{names: names, states: make(map[string]state, len(names)), ready: make(chan struct{})}
}

// receive reads a stream until it ends or is silent for too long.
func (f *follower) receive(ctx context.Context, g *group, s *stream) (err error) {
	ctx, s.cancel = context.WithCancel(ctx)
	defer s.cancel()
	defer func() { f.ended(g, s, err) }()
	silence := time.AfterFunc(f.timing.silence, s.cancel)
	defer silence.Stop()
	events, err := f.open(ctx, s.names)
	if err != nil {
		return err
	}
	for events.Receive() {
		silence.Reset(f.timing.silence)
		f.apply(g, s, events.Msg())
	}
	s.cancel() // Close would wait for the end of the stream
	_ = events.Close()
	return events.Err()
}

// apply stores an event. A stream that has sent the states of all its names replaces the one before it: two of them may
// be of servers of which one is behind, so the events of two are never mixed.
func (f *follower) apply(g *group, s *stream, event *secretwatchv1.WatchEvent) {
	changed := []string{event.GetName()}
	if _, asked := slices.BinarySearch(s.names, event.GetName()); !asked { // a heartbeat
		return
	}
	f.mu.Lock()
	s.states[event.GetName()] = state{live: true, uid: event.GetUid(), version: event.GetVersion()}
	if g.current != s {
		if len(s.states) < len(s.names) {
			f.mu.Unlock()
			return
		}
		if g.current != nil {
			g.current.cancel()
		}
		g.current, g.fault, changed = s, nil, s.names
		close(s.ready)
	}
	f.mu.Unlock()
	for _, name := range changed {
		if s.states[name].version == 0 { // only this goroutine writes them
			f.gone(name)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notify(changed)
}

// ended forgets what a stream sent.
func (f *follower) ended(g *group, s *stream, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-s.ready:
		if g.current == s {
			g.current = nil
		}
		if g.current != nil || !absent(err) {
			return // the next stream is opened at once
		}
	default:
		if g.current != nil {
			return
		}
	}
	if g.fault == nil {
		f.notify(s.names) // they have to ask
	}
	g.fault = cmp.Or(err, errEnded)
}

var errEnded = errors.New("the stream ended before it sent anything")

// absent reports whether a server has no stream of changes, or none for this caller.
func absent(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnimplemented, connect.CodePermissionDenied, connect.CodeInvalidArgument:
		return err != nil
	default:
		return false
	}
}
