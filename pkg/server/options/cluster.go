// SPDX-License-Identifier: Apache-2.0

package options

import (
	"context"

	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"

	"github.com/securevalue/secret-apiserver/pkg/access/cluster"
	"github.com/securevalue/secret-apiserver/pkg/admission"
	"github.com/securevalue/secret-apiserver/pkg/tracing"
)

// inCluster is what a server takes from the cluster that it runs in: who calls, what a caller may do, what else bounds a
// write, and in which order requests are served.
type inCluster struct {
	core  *core
	authn *cluster.Authenticator
	authz authorizer.Authorizer
}

func (o CompletedOptions) loadCluster(ctx context.Context, traces tracing.Provider) (*inCluster, error) {
	var c inCluster
	var err error
	if c.core, err = o.Core.load(traces); err != nil {
		return nil, err
	}
	if c.authz, err = o.DelegatedAuthorization.load(c.core.authz); err != nil {
		return nil, err
	}
	c.authn, err = o.DelegatedAuthentication.load(ctx, c.core.authn)
	return &c, err
}

func (c *inCluster) applyTo(config *genericapiserver.Config) error {
	if err := applyDelegatedAuthentication(c.authn, config); err != nil {
		return err
	}
	config.Authorization.Authorizer = c.authz
	config.FlowControl = utilflowcontrol.New(c.core.informers, c.core.client.FlowcontrolV1(),
		config.MaxRequestsInFlight+config.MaxMutatingRequestsInFlight)
	chain, err := admission.New(admission.Config{
		Client: c.core.client, Informers: c.core.informers, Drained: config.DrainedNotify(),
	})
	config.AdmissionControl = chain
	return err
}

// decryptAccess is for the decrypt port: tokens made out to this server, certificates of services if there is a CA for them,
// and a reviewer that asks about everybody.
func (c *inCluster) decryptAccess() (decryptAccess, error) {
	reviewer, err := cluster.NewReviewAuthorizer(cluster.AuthorizationConfig{Client: c.core.authz})
	return decryptAccess{authenticator: c.authn.Credentials(), authorizer: reviewer, clientCA: c.authn.ServiceCA()}, err
}
