// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// The first and the longest wait before a failed value is retried.
const (
	minRetry = time.Second
	maxRetry = 5 * time.Minute
)

// failures counts failures per value, so that each value has its own backoff. (The limiters of client-go's workqueue
// can neither count their items, which a metric shows, nor forget all of them, as a new key requires.)
type failures struct {
	mu       sync.Mutex
	attempts map[types.NamespacedName]int
}

func newFailures() *failures { return &failures{attempts: map[types.NamespacedName]int{}} }

// note counts a failure. It returns the backoff, and whether it is the first failure in a row.
func (f *failures) note(name types.NamespacedName) (wait time.Duration, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts[name]++
	n := f.attempts[name]
	return min(maxRetry, minRetry<<min(n-1, 16)), n == 1
}

// forget resets a value and reports whether it had failed.
func (f *failures) forget(name types.NamespacedName) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.attempts[name]
	delete(f.attempts, name)
	return ok
}

// has reports whether the last rewrap of a value failed.
func (f *failures) has(name types.NamespacedName) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.attempts[name]
	return ok
}

// clear resets all values: with another key, or another configuration, each may succeed.
func (f *failures) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.attempts)
}

func (f *failures) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.attempts)
}

// The first and the longest pause while the server cannot rewrap anything.
const (
	minPause = time.Second
	maxPause = 30 * time.Second
)

// gate stops all workers while the server cannot rewrap anything: it is down, overloaded, or its KMS is unavailable.
type gate struct {
	clock clock.Clock

	mu    sync.Mutex
	until time.Time
	pause time.Duration // the last one; zero while the server works
}

// wait returns when the gate is open, or with the error of ctx.
func (g *gate) wait(ctx context.Context) error {
	for {
		g.mu.Lock()
		left := g.until.Sub(g.clock.Now())
		g.mu.Unlock()
		if left <= 0 {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.clock.After(left):
		}
	}
}

// shut closes the gate for the delay that the server suggests, or twice as long as the last time. It returns how long,
// and whether the server worked until now. Workers that fail together shut it once.
func (g *gate) shut(suggested time.Duration) (pause time.Duration, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	if left := g.until.Sub(now); left > 0 {
		return left, false
	}
	first = g.pause == 0
	g.pause = min(maxPause, max(minPause, 2*g.pause))
	g.until = now.Add(min(maxPause, max(g.pause, suggested)))
	return g.until.Sub(now), first
}

// open opens the gate and reports whether it was shut.
func (g *gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.pause > 0
	g.pause, g.until = 0, time.Time{}
	return was
}
