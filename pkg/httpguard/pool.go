// SPDX-License-Identifier: Apache-2.0

package httpguard

import "sync"

// Pool is a bounded number of units. A nil Pool has no limit.
type Pool struct {
	name string

	mu               sync.Mutex
	size, used, peak int64
	held             map[Caller]int64
}

// NewPool returns a pool of size units, or nil, which has no limit, if size is not positive. The name is a label of
// secret_inflight_refused_total.
func NewPool(name string, size int64) *Pool {
	if size <= 0 {
		return nil
	}
	registerMetrics()
	for _, reason := range []string{reasonFull, reasonShare} { // so that an alert on their rate sees the first
		refusedTotal.WithLabelValues(name, reason)
	}
	return &Pool{name: name, size: size, held: map[Caller]int64{}}
}

// Take gives n units to a caller and reports whether it did. Each Take that did needs a Return of as many units.
//
// A caller may hold a third of what is free after that: a quarter of the pool if nobody else holds anything, a seventh if three
// others hold as much as they may. What a caller that holds nothing asks for first is refused only if there is less.
func (p *Pool) Take(caller Caller, n int64) bool {
	if p == nil {
		return true
	}
	reason := p.take(caller, n)
	if reason == "" {
		return true
	}
	refusedTotal.WithLabelValues(p.name, reason).Inc()
	return false
}

func (p *Pool) take(caller Caller, n int64) (refused string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	held, free := p.held[caller], p.size-p.used-n
	switch {
	case free < 0:
		return reasonFull
	case held > 0 && 3*(held+n) > free:
		return reasonShare
	}
	p.held[caller] = held + n
	p.used += n
	p.peak = max(p.peak, p.used)
	return ""
}

// Return takes units back from a caller.
func (p *Pool) Return(caller Caller, n int64) {
	if p == nil || n == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.used -= n
	if p.held[caller] -= n; p.held[caller] <= 0 {
		delete(p.held, caller)
	}
}

// Offers reports whether a Take of one unit would succeed now. It is a hint: others may come first.
func (p *Pool) Offers(caller Caller) bool {
	if !p.Take(caller, 1) {
		return false
	}
	p.Return(caller, 1)
	return true
}

// Peak returns how many units were taken at most since the last call.
func (p *Pool) Peak() int64 {
	if p == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	peak := p.peak
	p.peak = p.used
	return peak
}
