// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"errors"
	"net/http"
	"runtime"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	endpointmetrics "k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// Places are the request slots of the API port when priority and fairness is off. They replace upstream's max-in-flight
// filter, which counts requests whose body has not arrived and may give every slot to one caller.
type Places struct {
	reads, writes *Pool
}

// NewPlaces returns slots for reads and writes; 0 means no limit.
func NewPlaces(reads, writes int) *Places {
	return &Places{reads: NewPool("api_reads", int64(reads)), writes: NewPool("api_writes", int64(writes))}
}

// healthPaths are the paths of probes. They take no slot: during a flood probes would fail and restart a busy server.
var healthPaths = []string{"/livez", "/readyz", "/healthz"}

// Reads reports whether a request counts for --max-requests-inflight, as in upstream; all others count for
// --max-mutating-requests-inflight.
func Reads(info *request.RequestInfo) bool {
	return info.Verb == "get" || info.Verb == "list" || info.Verb == "watch"
}

// WithPlaces gives a slot to each request once its body has arrived, and answers 429 if the caller gets none. It must
// run after authorization and before any decoder. Watches take no slot, and members of system:masters are served
// without one, as in upstream.
func WithPlaces(handler http.Handler, places *Places, c *genericapiserver.Config) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := request.RequestInfoFrom(r.Context())
		if !ok {
			responsewriters.InternalError(w, r, errors.New("no RequestInfo found in the context"))
			return
		}
		if slices.Contains(healthPaths, r.URL.Path) || c.LongRunningFunc(r, info) {
			handler.ServeHTTP(w, r)
			return
		}
		pool, caller, trusted := places.writes, CallerOf(r), privileged(r)
		if Reads(info) {
			pool = places.reads
		}
		err := error(nil)
		switch {
		case !trusted && !pool.Offers(caller): // before reading the body
			err = refusePlace(r, info)
		case !Reads(info):
			err = refuseBody(Receive(r.Context(), caller, c.MaxRequestBodyBytes))
		}
		if err == nil && pool.Take(caller, 1) {
			defer pool.Return(caller, 1)
		} else if err == nil && !trusted {
			err = refusePlace(r, info)
		}
		if err != nil {
			responsewriters.ErrorNegotiated(err, c.Serializer,
				schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}, w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// refusePlace counts a refusal in upstream's metrics.
func refusePlace(r *http.Request, info *request.RequestInfo) error {
	endpointmetrics.RecordDroppedRequest(r, info, endpointmetrics.APIServerComponent, !Reads(info))
	endpointmetrics.RecordRequestTermination(r, info, endpointmetrics.APIServerComponent, http.StatusTooManyRequests)
	return apierrors.NewTooManyRequests(textNoPlace, RetryAfterSeconds)
}

func privileged(r *http.Request) bool {
	who, ok := request.UserFrom(r.Context())
	return ok && slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup)
}

// Observe updates apiserver_current_inflight_requests, the maximum of the last second, until stop is closed.
func (p *Places) Observe(stop <-chan struct{}) {
	wait.Until(func() {
		reads, writes := int(p.reads.Peak()), int(p.writes.Peak())
		endpointmetrics.UpdateInflightRequestMetrics(endpointmetrics.ExecutingPhase, reads, writes)
	}, time.Second, stop)
}

// stackBytes is the stack that upstream's handlers need, in bytes.
const stackBytes = 24 << 10

// GrowStack grows the stack of the calling goroutine once, early. A goroutine starts with a few KB, and each doubling
// copies the stack: about four times for a request, at a cost that rises with its depth.
//
//go:noinline
func GrowStack() {
	var room [stackBytes]byte
	runtime.KeepAlive(&room)
}

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
		Help: "Number of times that a caller was refused with 429, by pool (api_reads, api_writes, decrypt, " +
			"decrypt_watches, bodies, api_token_reviews or decrypt_token_reviews) and reason: full, or share if the " +
			"caller already held its share.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"pool", "reason"})

	registerMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(refusedTotal) })
)
