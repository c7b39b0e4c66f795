// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

var rewraps = metrics.NewCounterVec(
	&metrics.CounterOpts{
		Namespace:      "secret",
		Name:           "rewraps_total",
		Help:           "Requests to seal a stored value anew, by result: rewrapped, unchanged (under the write key already, or a dry run) or failed.",
		StabilityLevel: metrics.ALPHA,
	},
	[]string{"result"},
)

var refusedWrites = metrics.NewCounterVec(
	&metrics.CounterOpts{
		Namespace: "secret",
		Name:      "writes_refused_total",
		Help: "Writes that were answered 503 for lack of room, by reason: disk (less free than --data-dir-min-free) " +
			"or database (etcd has reached its quota).",
		StabilityLevel: metrics.ALPHA,
	},
	[]string{"reason"},
)

// reasonLabels are those of refusedWrites.
var reasonLabels = map[error]string{etcd.ErrDiskFull: "disk", etcd.ErrDatabaseFull: "database"}

// registerMetrics is not an init function: feature gates have to be parsed before a metric is created.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(rewraps, refusedWrites)
	for _, reason := range reasonLabels { // so that an alert on their rate sees the first one
		refusedWrites.WithLabelValues(reason)
	}
})

func countRewrap(result sealed.RewrapResult, err error) {
	label := "unchanged"
	switch {
	case err != nil:
		label = "failed"
	case result.Rewrapped:
		label = "rewrapped"
	}
	rewraps.WithLabelValues(label).Inc()
}
