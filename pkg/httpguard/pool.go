// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// Pool is a bounded number of units, shared between callers. A nil Pool has no limit.
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

// Take gives n units to a caller and reports whether it did. Each successful Take needs a Return of n units.
//
// A caller may hold a third of what is left free: a quarter of the pool if no other caller holds anything, a seventh if
// three others hold their share. The first Take of a caller fails only if the pool does not have n units.
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

// Return gives back units of a caller.
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

// Offers reports whether a Take of one unit would succeed now. It is a hint: another caller may be faster.
func (p *Pool) Offers(caller Caller) bool {
	if !p.Take(caller, 1) {
		return false
	}
	p.Return(caller, 1)
	return true
}

// Peak returns the maximum number of units in use since the last call.
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

// Reasons for refusing a Take.
const (
	reasonFull  = "full"
	reasonShare = "share"
)

var (
	refusedTotal = metrics.NewCounterVec(&metrics.CounterOpts{
		Name: "secret_inflight_refused_total",
		Help: "Number of times that a caller was refused with 429, by pool (api_reads, api_writes, decrypt, bodies, " +
			"api_token_reviews or decrypt_token_reviews) and reason: full, or share if the caller already held its " +
			"share.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"pool", "reason"})

	registerMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(refusedTotal) })
)
