// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"sync"
	"time"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

var (
	reloadTotal = metrics.NewCounterVec(&metrics.CounterOpts{
		Name:           "secret_rbac_reload_total",
		Help:           "Number of reloads of the RBAC manifests by result (success or error).",
		StabilityLevel: metrics.ALPHA,
	}, []string{"result"})

	lastReloadSuccess = metrics.NewGauge(&metrics.GaugeOpts{
		Name:           "secret_rbac_last_reload_success_timestamp_seconds",
		Help:           "Unix time at which the RBAC manifests were last loaded without a fault.",
		StabilityLevel: metrics.ALPHA,
	})

	lastReload = metrics.NewGauge(&metrics.GaugeOpts{
		Name:           "secret_rbac_last_reload_successful",
		Help:           "1 while the RBAC manifests as they are on the disk are in force, 0 while they were refused or cannot be read.",
		StabilityLevel: metrics.ALPHA,
	})

	registerMetrics = sync.OnceFunc(func() {
		legacyregistry.MustRegister(reloadTotal, lastReloadSuccess, lastReload)
		// Both results exist from the start, so that an alert on their rate sees the first error.
		reloadTotal.WithLabelValues("success")
		reloadTotal.WithLabelValues("error")
	})
)

func recordSuccess() {
	lastReloadSuccess.Set(float64(time.Now().Unix()))
	lastReload.Set(1)
}
