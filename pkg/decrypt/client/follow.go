// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1"
)

// state is what the stream of changes last sent about a name.
type state struct {
	// live is false while no stream covers the name: then nothing is known.
	live bool
	uid  string
	// version is 0 when there is nothing that the caller may open.
	version int64
}

// follower knows the states of the names that are kept or subscribed to. Up to maxNames of them share a stream.
type follower struct {
	open func(ctx context.Context, names []string) (*connect.ServerStreamForClient[secretwatchv1.WatchEvent], error)
	// gone is called when there is nothing any more that the caller may open under a name.
	gone   func(name string)
	start  func(*group)
	end    context.CancelFunc
	closed func() bool
	tasks  sync.WaitGroup
	timing timing

	mu     sync.Mutex
	names  map[string]*followed
	groups []*group
}

// timing is the same for all followers outside of tests.
type timing struct {
	// pause is how long names are collected before a stream is opened. It doubles with each opening up to mostPause,
	// and is short again after a stream that lived for settled.
	pause time.Duration
	// silence is how long a stream without an event is taken for alive: three heartbeats.
	silence time.Duration
	// absent is the pause after a server that has no such stream, or not for this caller.
	absent time.Duration
	// patience is how long WatchAll waits for the stream before it fetches: what was fetched before the first events
	// has to be fetched again after them.
	patience time.Duration
}

var usualTiming = timing{
	pause: 100 * time.Millisecond, silence: 90 * time.Second, absent: 3 * time.Minute, patience: time.Second,
}

const (
	mostPause = 10 * time.Second
	settled   = time.Minute
)

// followed is one name.
type followed struct {
	group       *group
	kept        bool
	subscribers map[chan struct{}]struct{}
}

func newFollower(t timing) *follower {
	f := &follower{names: map[string]*followed{}, timing: t}
	ctx, end := context.WithCancel(context.Background())
	f.end, f.closed = end, func() bool { return ctx.Err() != nil }
	f.start = func(g *group) { f.tasks.Go(func() { f.run(ctx, g) }) }
	return f
}

// close ends all streams and wakes all subscribers a last time.
func (f *follower) close() {
	f.mu.Lock()
	f.end()
	f.mu.Unlock()
	f.tasks.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.notify(slices.Collect(maps.Keys(f.names)))
}

// state returns what is known of a name now.
func (f *follower) state(name string) state {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.names[name]; n != nil && n.group.current != nil {
		return n.group.current.states[name]
	}
	return state{}
}

// fault returns why no stream can be opened for a name; nil while one is open, or was not tried.
func (f *follower) fault(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.names[name]; n != nil {
		return n.group.fault
	}
	return nil
}

// keep follows a name until drop.
func (f *follower) keep(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.add(name).kept = true
}

func (f *follower) drop(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.names[name]; n != nil {
		n.kept = false
		f.release(name)
	}
}

// subscribe returns a channel that gets an element after each event of the names, until cancel.
func (f *follower) subscribe(names []string) (events chan struct{}, cancel func()) {
	events = make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		f.add(name).subscribers[events] = struct{}{}
	}
	return events, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, name := range names {
			delete(f.names[name].subscribers, events)
			f.release(name)
		}
	}
}

// add returns a name, in a group with a place for it.
func (f *follower) add(name string) *followed {
	if n := f.names[name]; n != nil {
		return n
	}
	i := slices.IndexFunc(f.groups, func(g *group) bool { return len(g.names) < maxNames })
	if i < 0 {
		i = len(f.groups)
		f.groups = append(f.groups, &group{names: map[string]struct{}{}, changed: make(chan struct{}, 1)})
		if !f.closed() {
			f.start(f.groups[i])
		}
	}
	n := &followed{group: f.groups[i], subscribers: map[chan struct{}]struct{}{}}
	f.names[name] = n
	n.group.names[name] = struct{}{}
	wake(n.group.changed)
	return n
}

// release forgets a name that nobody needs. The stream covers it until the next is opened.
func (f *follower) release(name string) {
	n := f.names[name]
	if n.kept || len(n.subscribers) > 0 {
		return
	}
	delete(f.names, name)
	delete(n.group.names, name)
	if len(n.group.names) == 0 {
		wake(n.group.changed)
	}
}

func (f *follower) notify(names []string) {
	for _, name := range names {
		if n := f.names[name]; n != nil {
			for channel := range n.subscribers {
				wake(channel)
			}
		}
	}
}

func wake(channel chan struct{}) {
	select {
	case channel <- struct{}{}:
	default: // one is pending
	}
}
