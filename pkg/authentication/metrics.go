// SPDX-License-Identifier: Apache-2.0

package authentication

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const (
	resultSuccess = "success"
	resultFailure = "failure"
)

var reloads = metrics.NewCounterVec(
	&metrics.CounterOpts{
		Namespace:      "secret",
		Subsystem:      "authentication",
		Name:           "reload_total",
		Help:           "Reloads of what authentication rests on, by source (the name of a file's flag, or of the cluster's ConfigMap) and result. After a failure the last good content stays in force.",
		StabilityLevel: metrics.ALPHA,
	},
	[]string{"source", "result"},
)

// registerMetrics is not an init function: feature gates have to be parsed before a metric is created.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(reloads)
})

// RecordReload counts one reload of a source by its outcome.
func RecordReload(source string, err error) {
	registerMetrics()
	result := resultSuccess
	if err != nil {
		result = resultFailure
	}
	reloads.WithLabelValues(source, result).Inc()
}
