// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"
)

// Options bound what the controller asks of the server.
type Options struct {
	// QPS is --rewrap-qps: rewraps a second, retries included.
	QPS float64
	// Concurrency is --rewrap-concurrency: rewraps at once.
	Concurrency int
	// ProbeInterval is --rewrap-probe-interval: how often the server is asked for its write key.
	ProbeInterval time.Duration
	// SettleTime is --rewrap-settle-time: how long all answers must name one write key before it is believed.
	SettleTime time.Duration
}

// NewOptions returns the defaults for one server: its write key is believed at once.
func NewOptions() Options {
	return Options{QPS: 50, Concurrency: 4, ProbeInterval: 10 * time.Second}
}

// NewClusterOptions returns the defaults for several replicas of the server, which learn of a new key one after another: a
// Secret takes up to about two minutes to reach every kubelet.
func NewClusterOptions() Options {
	o := NewOptions()
	o.SettleTime = 2 * time.Minute
	return o
}

// AddFlags adds the flags of this controller. The values of o are the defaults.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.Float64Var(&o.QPS, "rewrap-qps", o.QPS, "After a key rotation: stored values that are sealed anew a second, at most.")
	fs.IntVar(&o.Concurrency, "rewrap-concurrency", o.Concurrency, "After a key rotation: stored values that are sealed anew at once, at most.")
	fs.DurationVar(&o.ProbeInterval, "rewrap-probe-interval", o.ProbeInterval,
		"How often the server is asked which key it seals with. A rotation starts about this late.")
	fs.DurationVar(&o.SettleTime, "rewrap-settle-time", o.SettleTime,
		"How long all replicas of the server must name one key before values are moved to it.")
}

// Validate returns every fault, each naming its flag.
func (o Options) Validate() []error {
	var errs []error
	if !(o.QPS > 0) {
		errs = append(errs, fmt.Errorf("--rewrap-qps must be above 0, not %v", o.QPS))
	}
	if o.Concurrency < 1 {
		errs = append(errs, fmt.Errorf("--rewrap-concurrency must be at least 1, not %d", o.Concurrency))
	}
	if o.ProbeInterval <= 0 {
		errs = append(errs, fmt.Errorf("--rewrap-probe-interval must be above 0, not %s", o.ProbeInterval))
	}
	if o.SettleTime < 0 {
		errs = append(errs, fmt.Errorf("--rewrap-settle-time must not be negative, not %s", o.SettleTime))
	}
	return errs
}
