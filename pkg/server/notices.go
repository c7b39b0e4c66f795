// SPDX-License-Identifier: Apache-2.0

package server

import (
	"errors"
	"maps"
	"net/http"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
)

// notice is a fault that operators should know of and that does not make the server unready: a fault that all replicas
// share must not take all of them out of service. While text returns one, /readyz passes and its verbose response shows
// it, the path of the notice (/readyz/NAME) fails, and the metric is 1. The text is public, so it names no file and no
// error: the log does.
type notice struct {
	name string
	text func() string
	// served is set once the paths are installed, for which upstream calls Name.
	served *atomic.Bool
}

// notices are those of one server.
type notices struct {
	list   []notice
	served atomic.Bool
}

// add adds a notice before serve. text returns "" while there is no fault, and is called concurrently.
func (n *notices) add(name string, text func() string) {
	n.list = append(n.list, notice{name, text, &n.served})
}

// addFault adds a notice with a constant text for a fault.
func (n *notices) addFault(name, text string, fault func() error) {
	n.add(name, func() string {
		if fault() != nil {
			return text
		}
		return ""
	})
}

// addFiles adds a notice for each file, named by its flag.
func (n *notices) addFiles(faults map[string]func() error) {
	for _, flag := range slices.Sorted(maps.Keys(faults)) {
		n.addFault(flag, refused, faults[flag])
	}
}

// refused is the text for a file that is reloaded while the server runs.
const refused = "the file on disk is refused or cannot be read, the last good one is in force: see the log"

// Name is shown by the verbose response.
func (n notice) Name() string {
	if text := n.text(); text != "" && n.served.Load() {
		return n.name + " (" + text + ")"
	}
	return n.name
}

// Check fails only on the path of this check.
func (n notice) Check(r *http.Request) error {
	if text := n.text(); text != "" && path.Base(r.URL.Path) == n.name {
		return errors.New(text)
	}
	return nil
}

// serve adds the notices to the health checks and to the metric.
func (n *notices) serve(config *genericapiserver.Config) error {
	for _, one := range n.list {
		config.HealthzChecks = append(config.HealthzChecks, one)
		config.ReadyzChecks = append(config.ReadyzChecks, one)
	}
	registerNotices()
	noticeMetrics.mu.Lock()
	defer noticeMetrics.mu.Unlock()
	noticeMetrics.list = n.list
	return config.AddPostStartHook("show-notices", func(genericapiserver.PostStartHookContext) error {
		n.served.Store(true)
		return nil
	})
}

var noticeInfo = metrics.NewDesc("secret_server_notice",
	"1 while /readyz?verbose shows this notice of a server that is ready, else 0.", []string{"notice"}, nil,
	metrics.ALPHA, "")

// noticeCollector publishes the notices of the process.
type noticeCollector struct {
	metrics.BaseStableCollector
	mu   sync.Mutex
	list []notice
}

var (
	noticeMetrics   noticeCollector
	registerNotices = sync.OnceFunc(func() { legacyregistry.CustomMustRegister(&noticeMetrics) })
)

// DescribeWithStability implements metrics.StableCollector.
func (c *noticeCollector) DescribeWithStability(ch chan<- *metrics.Desc) { ch <- noticeInfo }

// CollectWithStability implements metrics.StableCollector.
func (c *noticeCollector) CollectWithStability(ch chan<- metrics.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.list {
		shown := 0.0
		if n.text() != "" {
			shown = 1
		}
		ch <- metrics.NewLazyConstMetric(noticeInfo, metrics.GaugeValue, shown, n.name)
	}
}
