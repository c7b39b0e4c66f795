// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const metricPrefix = "secret_decrypt_audit_"

var (
	recordsWritten = metrics.NewCounterVec(&metrics.CounterOpts{
		Name:           metricPrefix + "records_total",
		Help:           "Records in the decrypt audit log by decision (allow or deny), one per requested name.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"decision"})

	suppressedRecords = metrics.NewCounter(&metrics.CounterOpts{
		Name:           metricPrefix + "suppressed_total",
		Help:           "Denied records over the limit of their caller, which are in the log as counts only.",
		StabilityLevel: metrics.ALPHA,
	})

	writeErrors = metrics.NewCounter(&metrics.CounterOpts{
		Name:           metricPrefix + "write_errors_total",
		Help:           "Failed writes of the decrypt audit log. Nothing was released for their records.",
		StabilityLevel: metrics.ALPHA,
	})

	openings = metrics.NewCounterVec(&metrics.CounterOpts{
		Name: metricPrefix + "openings_total",
		Help: "Files and runs of the decrypt audit log that were started, by reason. " +
			"Any of cut-off, rewritten, damaged and replaced means that something else touched the log.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"reason"})

	groupSize = metrics.NewHistogram(&metrics.HistogramOpts{
		Name:           metricPrefix + "group_size",
		Help:           "Lines per write, and fsync, of the decrypt audit log.",
		Buckets:        metrics.ExponentialBuckets(1, 4, 8),
		StabilityLevel: metrics.ALPHA,
	})

	commitSeconds = metrics.NewHistogram(&metrics.HistogramOpts{
		Name:           metricPrefix + "commit_duration_seconds",
		Help:           "Duration of one write of the decrypt audit log, fsync included.",
		Buckets:        metrics.ExponentialBuckets(0.00005, 4, 10),
		StabilityLevel: metrics.ALPHA,
	})

	publishErrors = metrics.NewCounter(&metrics.CounterOpts{
		Name:           metricPrefix + "head_publish_errors_total",
		Help:           "Failed attempts to publish the head of the decrypt audit log in etcd.",
		StabilityLevel: metrics.ALPHA,
	})

	lastPublished = metrics.NewGauge(&metrics.GaugeOpts{
		Name:           metricPrefix + "head_last_publish_success_timestamp_seconds",
		Help:           "Unix time at which the head of the decrypt audit log was last published in etcd.",
		StabilityLevel: metrics.ALPHA,
	})

	headMetric = &headCollector{
		sequence: metrics.NewDesc(metricPrefix+"head_sequence",
			"Number of the last line of the decrypt audit log.", nil, nil, metrics.ALPHA, ""),
		mac: metrics.NewDesc(metricPrefix+"head_mac48",
			"First 48 bits of the MAC of that line: `audit verify --head` takes them as 12 hexadecimal digits.",
			nil, nil, metrics.ALPHA, ""),
	}

	registerMetrics = sync.OnceFunc(func() {
		legacyregistry.MustRegister(recordsWritten, suppressedRecords, writeErrors, openings, groupSize, commitSeconds,
			publishErrors, lastPublished)
		legacyregistry.CustomMustRegister(headMetric)
		// These exist from the start, so that an alert on them sees the first.
		recordsWritten.WithLabelValues(string(Allow))
		recordsWritten.WithLabelValues(string(Deny))
		for _, reason := range []openReason{openReplaced, openDamaged, openCutOff, openRewritten} {
			openings.WithLabelValues(string(reason))
		}
	})
)

// headCollector exports both parts of one head in one scrape.
type headCollector struct {
	metrics.BaseStableCollector
	sequence, mac *metrics.Desc
	head          atomic.Pointer[Head]
}

// DescribeWithStability implements metrics.StableCollector.
func (c *headCollector) DescribeWithStability(out chan<- *metrics.Desc) {
	out <- c.sequence
	out <- c.mac
}

// CollectWithStability implements metrics.StableCollector.
func (c *headCollector) CollectWithStability(out chan<- metrics.Metric) {
	head := c.head.Load()
	if head == nil {
		return
	}
	mac48 := binary.BigEndian.Uint64(head.MAC[:8]) >> 16 // a float64 holds 53 bits exactly
	out <- metrics.NewLazyConstMetric(c.sequence, metrics.GaugeValue, float64(head.Sequence))
	out <- metrics.NewLazyConstMetric(c.mac, metrics.GaugeValue, float64(mac48))
}
