// SPDX-License-Identifier: Apache-2.0

package options

import (
	"time"

	"github.com/spf13/pflag"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
)

// ServerOptions bound requests and say how the server stops.
type ServerOptions struct {
	upstream *genericoptions.ServerRunOptions
}

// NewServerOptions returns the defaults: watches get a moment to end cleanly.
func NewServerOptions() *ServerOptions {
	upstream := genericoptions.NewServerRunOptions()
	upstream.ShutdownWatchTerminationGracePeriod = 5 * time.Second
	return &ServerOptions{upstream: upstream}
}

// AddFlags adds the flags of this concern.
func (o *ServerOptions) AddFlags(fs *pflag.FlagSet) {
	pick(fs, o.upstream.AddUniversalFlags, "max-requests-inflight", "max-mutating-requests-inflight", "request-timeout",
		"min-request-timeout", "shutdown-delay-duration", "shutdown-watch-termination-grace-period")
	fs.Lookup("max-requests-inflight").Usage = "Reads that may be in flight at once; more get 429. 0 sets no limit."
	fs.Lookup("max-mutating-requests-inflight").Usage = "Writes that may be in flight at once; more get 429. 0 sets no limit."
	fs.Lookup("shutdown-watch-termination-grace-period").Usage = "How long open watches may take to end when the server stops."
}

func (o *ServerOptions) validate() []error { return o.upstream.Validate() }

func (o *ServerOptions) applyTo(config *genericapiserver.Config) error {
	return o.upstream.ApplyTo(config)
}
