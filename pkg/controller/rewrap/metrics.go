// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
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
		"Stored values by the name of their encryption key.", []string{"key"}, nil)
	staleDesc = prometheus.NewDesc("secret_values_stale",
		"Stored values that are not encrypted with the write key.", nil, nil)
	failingDesc = prometheus.NewDesc("secret_rewrap_controller_failing_values",
		"Values whose last rewrap failed; see the log for their names.", nil, nil)
)

// metrics are the metrics of the controller.
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
			Help: "Rewraps by result: rewrapped, unchanged, gone (deleted meanwhile), other_key (a replica of the " +
				"server has another write key), failed (this value), unavailable (the server or its KMS).",
		}, []string{"result"}),
		lastComplete: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "secret_rewrap_controller_last_complete_timestamp_seconds",
			Help: "Last time when all values were encrypted with the write key. 0 until then.",
		}),
		probeErrors: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "secret_rewrap_controller_probe_errors_total",
			Help: "Probes without the name of the server's write key in the answer.",
		}),
	}
	all := []string{resultRewrapped, resultUnchanged, resultGone, resultOtherKey, resultFailed, resultUnavailable}
	for _, result := range all {
		m.results.WithLabelValues(result) // exists from the start, so that rates are correct
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

// maxKeySeries limits the series of secret_values: etcd may contain any number of key names.
const maxKeySeries = 100

// bounded returns the counts of the keys with the most values, and the sum of the others as "others".
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

// tally counts values by key from the events of the informer, so that a scrape does not walk the cache. Deleted objects
// without ciphertext are not counted.
type tally struct {
	mu    sync.Mutex
	byKey map[string]int
	total int
}

var _ cache.ResourceEventHandler = (*tally)(nil)

func newTally() *tally { return &tally{byKey: map[string]int{}} }

// OnAdd implements cache.ResourceEventHandler.
func (t *tally) OnAdd(obj any, _ bool) { t.count(obj, 1) }

// OnUpdate implements cache.ResourceEventHandler.
func (t *tally) OnUpdate(before, after any) {
	t.count(before, -1)
	t.count(after, 1)
}

// OnDelete implements cache.ResourceEventHandler.
func (t *tally) OnDelete(obj any) {
	if lost, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = lost.Obj
	}
	t.count(obj, -1)
}

func (t *tally) count(obj any, change int) {
	sv, ok := obj.(*v1beta1.SecureValue)
	if !ok || emptied(sv) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total += change
	t.byKey[sv.Status.Key] += change
	if t.byKey[sv.Status.Key] == 0 {
		delete(t.byKey, sv.Status.Key)
	}
}

// keys returns the number of values per key.
func (t *tally) keys() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.byKey)
}

// stale returns the number of values under other keys than writeKey, or 0 while that is unknown.
func (t *tally) stale(writeKey string) int {
	if writeKey == "" {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total - t.byKey[writeKey]
}

// relay collects the metrics of the running controller: a collector is registered only once, and a controller that
// failed is started again.
type relay struct {
	current atomic.Pointer[metrics]
}

var _ prometheus.Collector = (*relay)(nil)

// Describe implements prometheus.Collector. Without descriptions the metrics may come and go.
func (*relay) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (r *relay) Collect(ch chan<- prometheus.Metric) {
	if m := r.current.Load(); m != nil {
		m.Collect(ch)
	}
}

var (
	inProcess     relay
	registerRelay = sync.OnceFunc(func() { legacyregistry.RawMustRegister(&inProcess) })
)
