// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
)

var rewraps = metrics.NewCounterVec(
	&metrics.CounterOpts{
		Namespace: "secret",
		Name:      "rewraps_total",
		Help: "Requests to re-encrypt a stored value, by result: rewrapped, unchanged (already under the " +
			"write key, or a dry run) or failed.",
		StabilityLevel: metrics.ALPHA,
	},
	[]string{"result"},
)

var refusedWrites = metrics.NewCounterVec(
	&metrics.CounterOpts{
		Namespace: "secret",
		Name:      "writes_refused_total",
		Help: "Writes refused with 503 for lack of space, by reason: disk (less free than --data-dir-min-free) or " +
			"database (etcd has reached its quota).",
		StabilityLevel: metrics.ALPHA,
	},
	[]string{"reason"},
)

// reasonLabels are those of refusedWrites.
var reasonLabels = map[error]string{etcd.ErrDiskFull: "disk", etcd.ErrDatabaseFull: "database"}

// registerMetrics is not an init function: feature gates have to be parsed before a metric is created.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(rewraps, refusedWrites)
	for _, reason := range reasonLabels { // so that an alert on the rate sees the first one
		refusedWrites.WithLabelValues(reason)
	}
})
