// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"fmt"

	restclient "k8s.io/client-go/rest"
	componenttracing "k8s.io/component-base/tracing"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/securevalue/secret-apiserver/pkg/controller/certificates"
	"github.com/securevalue/secret-apiserver/pkg/tracing"
)

// setup adds the controllers that the flags ask for.
func (o CompletedOptions) setup(mgr ctrl.Manager, traces tracing.Provider) error {
	if err := certificates.SetupWithManager(mgr, o.Certificates); err != nil {
		return fmt.Errorf("setting up the own CA: %w", err)
	}
	return mgr.Add(whenServed{config: traced(mgr.GetConfig(), traces), rewrap: o.Rewrap})
}

// traced is for the controllers that watch secure values. The Lease, renewed all the time, would drown their traces.
func traced(config *restclient.Config, traces tracing.Provider) *restclient.Config {
	if traces == nil {
		return config
	}
	config = restclient.CopyConfig(config)
	config.Wrap(componenttracing.WrapperFor(traces))
	return config
}
