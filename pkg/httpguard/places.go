// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"errors"
	"net/http"
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

// Places are how many requests the API port serves at a time where priority and fairness is off. They replace upstream's
// max-in-flight filter, which counts a request whose body has not come and gives every place to one caller.
type Places struct {
	reads, writes *Pool
}

// NewPlaces returns so many places; 0 means no limit.
func NewPlaces(reads, writes int) *Places {
	return &Places{reads: NewPool("api_reads", int64(reads)), writes: NewPool("api_writes", int64(writes))}
}

// healthPaths are what probes ask. They take no place: under a flood of reads they would be refused, and a server that is merely
// busy be restarted. Answers to them cost next to nothing.
var healthPaths = []string{"/livez", "/readyz", "/healthz"}

// Reads reports whether --max-requests-inflight is about a request, as upstream has it; --max-mutating-requests-inflight is about
// all others.
func Reads(info *request.RequestInfo) bool {
	return info.Verb == "get" || info.Verb == "list" || info.Verb == "watch"
}

// WithPlaces gives a place to each request once its body is there, and answers 429 if the caller gets none. It belongs after
// authorization and before whatever decodes. Watches take no place. Members of system:masters are served without one, too, as
// upstream does.
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
		case !trusted && !pool.Offers(caller): // before the body costs anything
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
			responsewriters.ErrorNegotiated(err, c.Serializer, schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}, w, r)
			return
		}
		handler.ServeHTTP(w, r)
	})
}

// refusePlace counts a refusal as upstream does.
func refusePlace(r *http.Request, info *request.RequestInfo) error {
	metrics.RecordDroppedRequest(r, info, metrics.APIServerComponent, !Reads(info))
	metrics.RecordRequestTermination(r, info, metrics.APIServerComponent, http.StatusTooManyRequests)
	return apierrors.NewTooManyRequests(textNoPlace, RetryAfterSeconds)
}

func privileged(r *http.Request) bool {
	who, ok := request.UserFrom(r.Context())
	return ok && slices.Contains(who.GetGroups(), user.SystemPrivilegedGroup)
}

// Observe keeps apiserver_current_inflight_requests until stop is closed: the most places that were taken in the last second.
func (p *Places) Observe(stop <-chan struct{}) {
	wait.Until(func() {
		metrics.UpdateInflightRequestMetrics(metrics.ExecutingPhase, int(p.reads.Peak()), int(p.writes.Peak()))
	}, time.Second, stop)
}
