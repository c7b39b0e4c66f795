// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"slices"
	"strconv"
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
)

// otherDecrypter stands for every decrypter that --allowed-decrypters does not name: what writers of values choose must
// not decide how many series there are.
const otherDecrypter = "other"

var (
	requestsTotal = metrics.NewCounterVec(&metrics.CounterOpts{
		Name:           "secret_decrypt_requests_total",
		Help:           "Number of requests on the decrypt port by protocol (rpc, get or none) and HTTP status code.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"protocol", "code"})

	requestSeconds = metrics.NewHistogramVec(&metrics.HistogramOpts{
		Name:           "secret_decrypt_request_duration_seconds",
		Help:           "How long requests on the decrypt port took, authentication included.",
		Buckets:        []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30},
		StabilityLevel: metrics.ALPHA,
	}, []string{"protocol"})

	inFlight = metrics.NewGauge(&metrics.GaugeOpts{
		Name:           "secret_decrypt_requests_inflight",
		Help:           "Number of requests on the decrypt port that are being answered.",
		StabilityLevel: metrics.ALPHA,
	})

	valuesTotal = metrics.NewCounterVec(&metrics.CounterOpts{
		Name:           "secret_decrypt_values_total",
		Help:           "Number of names asked for on the decrypt port, by decision, reason and the decrypter that let the caller in.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"decision", "reason", "decrypter"})

	registerMetrics = sync.OnceFunc(func() {
		legacyregistry.MustRegister(requestsTotal, requestSeconds, inFlight, valuesTotal)
		// The denials exist from the start, so that an alert on their rate sees the first.
		for _, reason := range []audit.Reason{
			audit.ReasonNotAuthorized, audit.ReasonWildcard, audit.ReasonAbsent, audit.ReasonDeleted,
			audit.ReasonNotListed, audit.ReasonOpenFailed,
		} {
			valuesTotal.WithLabelValues(string(audit.Deny), string(reason), "")
		}
	})
)

func countResults(a *access, answer *Answer) {
	for i := range answer.Results {
		r := &answer.Results[i]
		decision, decrypter := audit.Deny, ""
		if r.Outcome == Released {
			decision, decrypter = audit.Allow, r.decrypter
			if !slices.Contains(a.decrypters, decrypter) {
				decrypter = otherDecrypter
			}
		}
		valuesTotal.WithLabelValues(string(decision), string(r.reason), decrypter).Inc()
	}
}

func countRequest(protocol string, code int, seconds float64) {
	requestsTotal.WithLabelValues(protocol, strconv.Itoa(code)).Inc()
	requestSeconds.WithLabelValues(protocol).Observe(seconds)
}
