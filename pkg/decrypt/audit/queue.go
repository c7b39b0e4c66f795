// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"sync"
)

const (
	// maxGroup bounds the lines of one write, and so how long its callers wait for each other.
	maxGroup = 8192
	// maxQueued bounds the lines that wait: callers who gave up leave theirs behind while the disk hangs.
	maxQueued = 65536
)

// request is what one call of Record waits for.
type request struct {
	entries []entry
	done    chan error // one slot: the writer never waits for a caller
}

// queue hands requests to the writer. What queues up during one write goes out with the next: the slower the disk, the
// larger the groups.
type queue struct {
	// wake has an element when there may be requests.
	wake chan struct{}

	mu       sync.Mutex
	requests []*request
	lines    int
	closed   bool
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1)} }

// submit waits until the writer has dealt with entries.
func (q *queue) submit(ctx context.Context, entries []entry) error {
	if len(entries) == 0 {
		return nil
	}
	r := &request{entries: entries, done: make(chan error, 1)}
	if err := q.put(r); err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *queue) put(r *request) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return ErrClosed
	}
	if q.lines > 0 && q.lines+len(r.entries) > maxQueued {
		return ErrBusy
	}
	q.requests = append(q.requests, r)
	q.lines += len(r.entries)
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return nil
}

// take returns the oldest requests, as many as make up a group, or none.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines, n := 0, 0
	for n < len(q.requests) && (n == 0 || lines+len(q.requests[n].entries) <= maxGroup) {
		lines += len(q.requests[n].entries)
		n++
	}
	group := q.requests[:n:n]
	q.requests = q.requests[n:]
	if len(q.requests) == 0 {
		q.requests = nil
	}
	q.lines -= lines
	return group
}

// close makes submit fail; what is queued stays.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}
