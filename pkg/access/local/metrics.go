// SPDX-License-Identifier: Apache-2.0

package local

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

var lastReload = metrics.NewGaugeVec(
	&metrics.GaugeOpts{
		Namespace:      "secret",
		Subsystem:      "authentication",
		Name:           "last_reload_successful",
		Help:           "1 while what a source says now is in force, 0 while it was refused or cannot be read, by source.",
		StabilityLevel: metrics.ALPHA,
	},
	[]string{"source"},
)

// registerMetrics is not an init function: feature gates have to be parsed before a metric is created.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(reloads, lastReload)
})

// trackReloads shows a source before its first reload, so that an alert on its rate sees the first failure.
func trackReloads(source string) {
	registerMetrics()
	reloads.WithLabelValues(source, resultSuccess)
	reloads.WithLabelValues(source, resultFailure)
	lastReload.WithLabelValues(source).Set(1) // without its first content the server does not start
}

// RecordReload counts one reload of a source by its outcome.
func RecordReload(source string, err error) {
	registerMetrics()
	result, inForce := resultSuccess, 1.0
	if err != nil {
		result, inForce = resultFailure, 0
	}
	reloads.WithLabelValues(source, result).Inc()
	lastReload.WithLabelValues(source).Set(inForce)
}
