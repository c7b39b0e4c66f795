// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// The first and the longest wait while the server cannot rewrap anything.
const (
	minPause = time.Second
	maxPause = 30 * time.Second
)

// gate holds all workers back while the server as a whole cannot rewrap: it is down, overloaded, or its KMS is away.
type gate struct {
	clock clock.Clock

	mu    sync.Mutex
	until time.Time
	pause time.Duration // the last one; zero while the server works
}

// wait returns when the gate is open, or with an error when ctx ends.
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

// shut closes the gate for asked, which the server may have named, or twice as long as the last time. It returns how
// long, and whether the server worked until now. Workers that fail together shut it once.
func (g *gate) shut(asked time.Duration) (pause time.Duration, first bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.clock.Now()
	if left := g.until.Sub(now); left > 0 {
		return left, false
	}
	first = g.pause == 0
	g.pause = min(maxPause, max(minPause, 2*g.pause))
	g.until = now.Add(min(maxPause, max(g.pause, asked)))
	return g.until.Sub(now), first
}

// open notes that the server works. It returns true when it did not before.
func (g *gate) open() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.pause > 0
	g.pause, g.until = 0, time.Time{}
	return was
}
