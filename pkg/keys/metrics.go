// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
)

var (
	writeKeyInfo = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace: "secret", Subsystem: "encryption", Name: "write_key",
		Help: "1 for the name of the active write key. A value whose status.key differs is stale. No " +
			"series while no value can be encrypted.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"key"})

	missingValues = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Namespace: "secret", Subsystem: "encryption", Name: "missing_key_values",
		Help: "Stored values that cannot be decrypted because no provider of " +
			"--encryption-provider-config has their key, by key name; 0 for the keys of the file. Counted at " +
			"start, after each reload, and once a minute while there are any.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"key"})

	kmsHealthy = metrics.NewGauge(&metrics.GaugeOpts{
		Namespace: "secret", Subsystem: "encryption", Name: "kms_healthy",
		Help:           "1 if every KMS plugin of --encryption-provider-config answers or none is configured, else 0.",
		StabilityLevel: metrics.ALPHA,
	})
)

// registerMetrics is not an init function: feature gates have to be parsed before a metric is created.
var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(writeKeyInfo, missingValues, kmsHealthy)
})

func healthValue(err error) float64 {
	if err != nil {
		return 0
	}
	return 1
}

// published is the write key in the metric.
type published struct{ key string }

// refresh updates the metric and logs a change.
func (p *published) refresh(writeKey func() (string, error)) {
	key, err := writeKey()
	if err != nil {
		key = "" // checkKMS logs why
	}
	if key == p.key {
		return
	}
	writeKeyInfo.Reset()
	if key != "" {
		writeKeyInfo.WithLabelValues(key).Set(1)
		klog.InfoS("The write key changed", "key", key, "before", p.key)
	}
	p.key = key
}
