// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"time"

	"github.com/spf13/pflag"
	genericoptions "k8s.io/apiserver/pkg/server/options"
)

// clusterShutdownDelay is the default of --shutdown-delay-duration in a cluster.
const clusterShutdownDelay = 10 * time.Second

// RequestOptions limit requests and configure the shutdown.
type RequestOptions struct {
	*genericoptions.ServerRunOptions

	delay *pflag.Flag // --shutdown-delay-duration
}

// newRequestOptions gives watches some time to end cleanly.
func newRequestOptions() *RequestOptions {
	upstream := genericoptions.NewServerRunOptions()
	upstream.ShutdownWatchTerminationGracePeriod = 5 * time.Second
	return &RequestOptions{ServerRunOptions: upstream, delay: &pflag.Flag{}}
}

func (o *RequestOptions) addFlags(fs *pflag.FlagSet) {
	pick(fs, o.AddUniversalFlags, map[string]string{
		"max-requests-inflight": "Maximum number of concurrent reads; excess requests get 429. 0 sets no limit. " +
			"Standalone, one user gets at most a quarter of them. " +
			"In a cluster, priority and fairness shares out the sum of this and --max-mutating-requests-inflight.",
		"max-mutating-requests-inflight": "Maximum number of concurrent writes; excess requests get 429. 0 sets " +
			"no limit. Standalone, one user gets at most a quarter of them.",
		"shutdown-delay-duration": "How long a stopping server continues to serve, with /readyz failing, so that " +
			"load balancers and kube-apiserver stop sending requests to it. Defaults to 0s standalone and " +
			"10s in a cluster.",
		"shutdown-watch-termination-grace-period": "How long open watches may take to end when the server stops.",
	}, "max-requests-inflight", "max-mutating-requests-inflight", "request-timeout", "min-request-timeout",
		"shutdown-delay-duration", "shutdown-watch-termination-grace-period")
	o.delay = fs.Lookup("shutdown-delay-duration")
}

// complete makes rolling updates in a cluster lossless: the server still serves while its address is removed
// everywhere, and then sends 429 with Retry-After, which clients retry elsewhere, instead of closing the port.
func (o *RequestOptions) complete(standalone bool) {
	if standalone {
		return
	}
	o.ShutdownSendRetryAfter = true
	if !o.delay.Changed {
		o.ShutdownDelayDuration = clusterShutdownDelay
	}
}

func (o *RequestOptions) validateShares() []error {
	if o.MaxRequestsInFlight+o.MaxMutatingRequestsInFlight > 0 {
		return nil
	}
	return []error{
		errors.New("--max-requests-inflight and --max-mutating-requests-inflight must not both be 0 in a cluster: " +
			"priority and fairness shares out their sum"),
	}
}
