// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"time"

	"github.com/spf13/pflag"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
)

// ClusterShutdownDelay is the default of --shutdown-delay-duration in a cluster.
const ClusterShutdownDelay = 10 * time.Second

// ServerOptions bound requests and say how the server stops.
type ServerOptions struct {
	upstream *genericoptions.ServerRunOptions
	delay    *pflag.Flag // --shutdown-delay-duration
}

// NewServerOptions returns the defaults: watches get a moment to end cleanly.
func NewServerOptions() *ServerOptions {
	upstream := genericoptions.NewServerRunOptions()
	upstream.ShutdownWatchTerminationGracePeriod = 5 * time.Second
	return &ServerOptions{upstream: upstream, delay: &pflag.Flag{}}
}

// AddFlags adds the flags of this concern.
func (o *ServerOptions) AddFlags(fs *pflag.FlagSet) {
	pick(fs, o.upstream.AddUniversalFlags, "max-requests-inflight", "max-mutating-requests-inflight", "request-timeout",
		"min-request-timeout", "shutdown-delay-duration", "shutdown-watch-termination-grace-period")
	fs.Lookup("max-requests-inflight").Usage = "Maximum number of concurrent reads; excess requests get 429. 0 sets no limit. " +
		"Standalone, one user gets at most a quarter of them. " +
		"In a cluster, priority and fairness shares out the sum of this and --max-mutating-requests-inflight."
	fs.Lookup("max-mutating-requests-inflight").Usage = "Maximum number of concurrent writes; excess requests get 429. 0 sets no limit. " +
		"Standalone, one user gets at most a quarter of them."
	o.delay = fs.Lookup("shutdown-delay-duration")
	o.delay.Usage = "How long a server that is told to stop still serves, with /readyz failing, so that load balancers and kube-apiserver stop sending to it. Without this flag it is 0s standalone and 10s in a cluster."
	fs.Lookup("shutdown-watch-termination-grace-period").Usage = "How long open watches may take to end when the server stops."
}

// complete gives a server in a cluster what a rolling update needs: time in which its address disappears everywhere
// while it still serves, and then 429 with Retry-After, which clients repeat elsewhere, in place of a closed port.
func (o *ServerOptions) complete(standalone bool) {
	if standalone {
		return
	}
	o.upstream.ShutdownSendRetryAfter = true
	if !o.delay.Changed {
		o.upstream.ShutdownDelayDuration = ClusterShutdownDelay
	}
}

// validateShares is for a server in a cluster.
func (o *ServerOptions) validateShares() []error {
	if o.upstream.MaxRequestsInFlight+o.upstream.MaxMutatingRequestsInFlight > 0 {
		return nil
	}
	return []error{errors.New("--max-requests-inflight and --max-mutating-requests-inflight must not both be 0 in a cluster: priority and fairness shares out their sum")}
}

func (o *ServerOptions) validate() []error { return o.upstream.Validate() }

func (o *ServerOptions) applyTo(config *genericapiserver.Config) error {
	return o.upstream.ApplyTo(config)
}
