// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"errors"
	"net/http"
	"runtime"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/metrics"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"
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
	metrics.RecordDroppedRequest(r, info, metrics.APIServerComponent, !Reads(info))
	metrics.RecordRequestTermination(r, info, metrics.APIServerComponent, http.StatusTooManyRequests)
	return apierrors.NewTooManyRequests(textNoPlace, RetryAfterSeconds)
}

func privileged(r *http.Request) bool {
	who, ok := request.UserFrom(r.Context())
	return ok && slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup)
}

// Observe updates apiserver_current_inflight_requests, the maximum of the last second, until stop is closed.
func (p *Places) Observe(stop <-chan struct{}) {
	wait.Until(func() {
		metrics.UpdateInflightRequestMetrics(metrics.ExecutingPhase, int(p.reads.Peak()), int(p.writes.Peak()))
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
