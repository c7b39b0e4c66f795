// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"cmp"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// The results of a rewrap, as labels.
const (
	resultRewrapped   = "rewrapped"
	resultUnchanged   = "unchanged"
	resultGone        = "gone"
	resultOtherKey    = "other_key"
	resultFailed      = "failed"
	resultUnavailable = "unavailable"
)

var (
	valuesDesc = prometheus.NewDesc("secret_values",
		"Stored values by the name of the key that seals them.", []string{"key"}, nil)
	staleDesc = prometheus.NewDesc("secret_values_stale",
		"Stored values that another key seals than the one the server seals with now.", nil, nil)
	failingDesc = prometheus.NewDesc("secret_rewrap_controller_failing_values",
		"Values whose last rewrap failed; the log names them.", nil, nil)
)

// metrics are what the controller tells of its progress.
type metrics struct {
	tally    *tally
	keys     *keyTracker
	failures *failures

	results      *prometheus.CounterVec
	lastComplete prometheus.Gauge
	probeErrors  prometheus.Counter
}

var _ prometheus.Collector = (*metrics)(nil)

func newMetrics(tally *tally, keys *keyTracker, failures *failures) *metrics {
	m := &metrics{
		tally: tally, keys: keys, failures: failures,
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "secret_rewrap_controller_results_total",
			Help: "Rewraps by result: rewrapped, unchanged, gone (deleted meanwhile), other_key (a replica of the server seals with another key), failed (this value), unavailable (the server or its KMS).",
		}, []string{"result"}),
		lastComplete: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "secret_rewrap_controller_last_complete_timestamp_seconds",
			Help: "When every value was last seen under the key that the server seals with. 0 until then.",
		}),
		probeErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "secret_rewrap_controller_probe_errors_total",
			Help: "Times the server did not say which key it seals with.",
		}),
	}
	for _, result := range []string{resultRewrapped, resultUnchanged, resultGone, resultOtherKey, resultFailed, resultUnavailable} {
		m.results.WithLabelValues(result) // shown from the start, so that a rate can be built
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- valuesDesc
	ch <- staleDesc
	ch <- failingDesc
	m.results.Describe(ch)
	m.lastComplete.Describe(ch)
	m.probeErrors.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(desc *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(n), labels...)
	}
	for key, n := range bounded(m.tally.keys()) {
		gauge(valuesDesc, n, key)
	}
	gauge(staleDesc, m.tally.stale(m.keys.key()))
	gauge(failingDesc, m.failures.count())
	m.results.Collect(ch)
	m.lastComplete.Collect(ch)
	m.probeErrors.Collect(ch)
}

func (m *metrics) count(result string) { m.results.WithLabelValues(result).Inc() }

// maxKeySeries bounds the series of secret_values: whoever writes to etcd may write any number of key names.
const maxKeySeries = 100

// bounded returns the counts of the keys with the most values, and the sum of all others as "others".
func bounded(counts map[string]int) map[string]int {
	if len(counts) <= maxKeySeries {
		return counts
	}
	keys := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Compare(counts[b], counts[a]) })
	for _, key := range keys[maxKeySeries:] {
		counts["others"] += counts[key]
		delete(counts, key)
	}
	return counts
}
