// SPDX-License-Identifier: Apache-2.0

package options

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

// notice is something that operators should know and that does not make the server unready: a fault that all replicas share must
// not take all of them out of service. While text returns one, /readyz passes and its verbose answer shows it, the path of the notice
// (/readyz/NAME) fails, and the metric is 1. Anybody may read a text, so it names no file and no fault: the log does.
type notice struct {
	name string
	text func() string
	// served is set once the paths are installed, for which upstream asks for the name.
	served *atomic.Bool
}

// AddNotice adds a notice, before Config. text returns "" while there is nothing to tell, and is called concurrently.
func (o *Options) AddNotice(name string, text func() string) {
	o.notices = append(o.notices, notice{name, text, &o.noticesServed})
}

// addFault adds a notice with a constant text for a fault.
func (o *Options) addFault(name, text string, fault func() error) {
	o.AddNotice(name, func() string {
		if fault() != nil {
			return text
		}
		return ""
	})
}

// addFileFaults adds a notice for each file, named by its flag.
func (o *Options) addFileFaults(faults map[string]func() error) {
	for _, flag := range slices.Sorted(maps.Keys(faults)) {
		o.addFault(flag, refused, faults[flag])
	}
}

// refused is the text about a file that is read again while the server runs.
const refused = "the file on disk is refused or cannot be read, the last good one is in force: see the log"

// Name is what the verbose text shows.
func (n notice) Name() string {
	if text := n.text(); text != "" && n.served.Load() {
		return n.name + " (" + text + ")"
	}
	return n.name
}

// Check fails on the path of this check alone.
func (n notice) Check(r *http.Request) error {
	if text := n.text(); text != "" && path.Base(r.URL.Path) == n.name {
		return errors.New(text)
	}
	return nil
}

func (o *Options) applyNotices(config *genericapiserver.Config) error {
	for _, n := range o.notices {
		config.HealthzChecks = append(config.HealthzChecks, n)
		config.ReadyzChecks = append(config.ReadyzChecks, n)
	}
	registerNotices()
	noticeMetrics.mu.Lock()
	defer noticeMetrics.mu.Unlock()
	noticeMetrics.list = o.notices
	return config.AddPostStartHook("show-notices", func(genericapiserver.PostStartHookContext) error {
		o.noticesServed.Store(true)
		return nil
	})
}

var noticeInfo = metrics.NewDesc("secret_server_notice",
	"1 while /readyz?verbose shows this notice of a server that is ready, else 0.", []string{"notice"}, nil, metrics.ALPHA, "")

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
