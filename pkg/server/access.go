// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
	"github.com/securevalue/secret-apiserver/pkg/admission"
	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// wireAccess sets authentication, authorization and, in a cluster, admission and priority and fairness of the API port.
func (s *server) wireAccess(config *genericapiserver.Config) error {
	if s.inputs.cluster != nil {
		return s.wireCluster(config)
	}
	authn := s.inputs.authn
	if err := wireAuthentication(authn, config); err != nil {
		return err
	}
	s.notices.addFiles(authn.FileFaults())
	if s.opts.Standalone.AuthenticationConfigFile != "" {
		s.notices.addFault("token-issuers",
			"an issuer of --authentication-config has not answered yet, its tokens are refused: see the log",
			authn.HealthCheck)
	}
	return s.wireRBAC(config)
}

// callers authenticates requests: *local.Authenticator or *cluster.Authenticator.
type callers interface {
	Request() authenticator.Request
	ClientCA() dynamiccertificates.CAContentProvider // may be nil
	Run(ctx context.Context)
}

func wireAuthentication(authn callers, config *genericapiserver.Config) error {
	config.Authentication.Authenticator = authn.Request()
	if ca := authn.ClientCA(); ca != nil {
		if err := config.Authentication.ApplyClientCert(ca, config.SecureServing); err != nil {
			return err
		}
	}
	return config.AddPostStartHook("reload-credentials", func(hook genericapiserver.PostStartHookContext) error {
		go authn.Run(hook)
		return nil
	})
}

func (s *server) wireRBAC(config *genericapiserver.Config) error {
	authorizer, folder := rbac.NewStandalone(s.inputs.rbac), s.inputs.rbacFolder
	config.Authorization.Authorizer, config.RuleResolver = authorizer, authorizer
	s.notices.addFault(folder.Flag, refused, folder.Fault)
	return config.AddPostStartHook("reload-rbac", func(hook genericapiserver.PostStartHookContext) error {
		go folder.Run(hook, reload.DefaultInterval)
		return nil
	})
}

func (s *server) wireCluster(config *genericapiserver.Config) error {
	c := s.inputs.cluster
	s.notices.addFault("extension-apiserver-authentication", "the ConfigMap is refused: see the log", c.authn.Fault)
	s.notices.addFiles(c.authn.FileFaults())
	if err := config.Authentication.ApplyClientCert(c.authn.ProxyCA(), config.SecureServing); err != nil {
		return err
	}
	config.Authentication.RequestHeaderConfig = c.authn.Headers()
	if err := wireAuthentication(c.authn, config); err != nil {
		return err
	}
	config.Authorization.Authorizer = c.authz
	config.FlowControl = utilflowcontrol.New(c.informers, c.client.FlowcontrolV1(),
		config.MaxRequestsInFlight+config.MaxMutatingRequestsInFlight)
	chain, err := admission.New(
		admission.Config{Client: c.client, Informers: c.informers, Drained: config.DrainedNotify()})
	config.AdmissionControl = chain
	return err
}
