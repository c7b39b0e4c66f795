// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"sync"

	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// Why a Take was refused.
const (
	reasonFull  = "full"
	reasonShare = "share"
)

var (
	refusedTotal = metrics.NewCounterVec(&metrics.CounterOpts{
		Name: "secret_inflight_refused_total",
		Help: "Number of times that a caller was refused with 429, by pool (api_reads, api_writes, decrypt, bodies, api_token_reviews " +
			"or decrypt_token_reviews) and reason: full, or share if the caller already held its share.",
		StabilityLevel: metrics.ALPHA,
	}, []string{"pool", "reason"})

	registerMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(refusedTotal) })
)
