// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"fmt"
	"time"

	"github.com/spf13/pflag"
)

// Options limit the requests of the controller.
type Options struct {
	// QPS is --rewrap-qps: rewraps per second, including retries.
	QPS float64
	// Concurrency is --rewrap-concurrency: concurrent rewraps.
	Concurrency int
	// ProbeInterval is --rewrap-probe-interval: the time between requests for the write key.
	ProbeInterval time.Duration
	// SettleTime is --rewrap-settle-time: how long all answers must name one write key before it is used.
	SettleTime time.Duration
}

// NewOptions returns the defaults for a single server, whose write key needs no settle time.
func NewOptions() Options {
	return Options{QPS: 50, Concurrency: 4, ProbeInterval: 10 * time.Second}
}

// NewClusterOptions returns the defaults for several replicas of the server, which learn of a new key one after
// another: a Secret takes up to about two minutes to reach every kubelet.
func NewClusterOptions() Options {
	o := NewOptions()
	o.SettleTime = 2 * time.Minute
	return o
}

// AddFlags adds the flags of this controller. The values of o are the defaults.
func (o *Options) AddFlags(fs *pflag.FlagSet) {
	fs.Float64Var(&o.QPS, "rewrap-qps", o.QPS,
		"Maximum re-encryptions per second after a key rotation.")
	fs.IntVar(&o.Concurrency, "rewrap-concurrency", o.Concurrency,
		"Maximum concurrent re-encryptions after a key rotation.")
	fs.DurationVar(&o.ProbeInterval, "rewrap-probe-interval", o.ProbeInterval,
		"Interval of the check for a new encryption key. A rotation starts at most this late.")
	fs.DurationVar(&o.SettleTime, "rewrap-settle-time", o.SettleTime,
		"How long all replicas of the server must report a new key before values are re-encrypted with it.")
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
