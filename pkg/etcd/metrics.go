// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

const metricPrefix = "secret_etcd_"

var (
	diskFree = metrics.NewGauge(&metrics.GaugeOpts{
		Name:           metricPrefix + "disk_free_bytes",
		Help:           "Free space on the file system of the embedded etcd.",
		StabilityLevel: metrics.ALPHA,
	})

	diskMargin = metrics.NewGauge(&metrics.GaugeOpts{
		Name:           metricPrefix + "disk_min_free_bytes",
		Help:           "Free space below which the server refuses writes (--data-dir-min-free); 0 for no such limit.",
		StabilityLevel: metrics.ALPHA,
	})

	databaseSize = metrics.NewGaugeVec(&metrics.GaugeOpts{
		Name: metricPrefix + "database_bytes",
		Help: "Database of the embedded etcd: size of its file (file), bytes of it that are in use, history included (in_use), " +
			"and the size at which etcd refuses writes (quota).",
		StabilityLevel: metrics.ALPHA,
	}, []string{"kind"})

	compactions = metrics.NewCounter(&metrics.CounterOpts{
		Name: metricPrefix + "early_compactions_total",
		Help: "Compactions of etcd before their time, because of the size of its history (--etcd-history-max-bytes) or for lack of room. " +
			"Each ends watches and continue tokens that are older than 30 seconds.",
		StabilityLevel: metrics.ALPHA,
	})

	defragmentations = metrics.NewHistogram(&metrics.HistogramOpts{
		Name:           metricPrefix + "defragmentation_duration_seconds",
		Help:           "Time that the embedded etcd stood still while the free pages of its database were given back to the disk.",
		Buckets:        metrics.ExponentialBuckets(0.01, 2, 12),
		StabilityLevel: metrics.ALPHA,
	})

	alarmsDisarmed = metrics.NewCounter(&metrics.CounterOpts{
		Name:           metricPrefix + "alarms_disarmed_total",
		Help:           "Times that the embedded etcd was full, refused writes, and takes them again.",
		StabilityLevel: metrics.ALPHA,
	})
)

// The metrics are not registered by an init function: feature gates have to be parsed before a metric is created.
var registerHistoryMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(compactions) })

var registerMetrics = sync.OnceFunc(func() {
	legacyregistry.MustRegister(diskFree, diskMargin, databaseSize, defragmentations, alarmsDisarmed)
})
