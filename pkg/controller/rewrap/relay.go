// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/component-base/metrics/legacyregistry"
)

// relay shows the metrics of the controller that runs now: the registry of a server takes a collector once and for all,
// and a controller that failed is started again.
type relay struct {
	current atomic.Pointer[metrics]
}

var _ prometheus.Collector = (*relay)(nil)

// Describe implements prometheus.Collector: a collector without descriptions may come and go with its metrics.
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
