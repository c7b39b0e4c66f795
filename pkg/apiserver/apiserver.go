// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"net/http"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/apiserver/guard"
	"github.com/securevalue/secret-apiserver/pkg/registry/authorization"
	"github.com/securevalue/secret-apiserver/pkg/registry/secret/securevalue"
	"github.com/securevalue/secret-apiserver/pkg/safecodec"
	"github.com/securevalue/secret-apiserver/pkg/stack"
)

// MaxRequestBodyBytes bounds a request body. A maximal value, every byte of it escaped as \u00XX, in a manifest and
// once more in its last-applied annotation, stays far below.
const MaxRequestBodyBytes = 1 << 20

// Config is what New needs.
type Config struct {
	// Generic is the configuration of the generic API server, its RESTOptionsGetter sealing.
	Generic *genericapiserver.Config
	// Informers follow the cluster's kube-apiserver. Nil in a standalone server.
	Informers informers.SharedInformerFactory
	// Extra is this project's own part.
	Extra ExtraConfig
}

// ExtraConfig is the part of the configuration that the generic API server does not know.
type ExtraConfig struct {
	// AllowedDecrypters is the list of --allowed-decrypters; "*" allows any well-formed name.
	AllowedDecrypters []string
	// Rewrapper seals stored values anew; it belongs to the RESTOptionsGetter of Generic.
	Rewrapper securevalue.Rewrapper
	// Standalone is set where no cluster is around: no kube-apiserver that serves SelfSubjectAccessReview and its kin, and no
	// garbage collector.
	Standalone bool
}

type completedConfig struct {
	generic genericapiserver.CompletedConfig
	extra   ExtraConfig
}

// CompletedConfig can only come from Complete, so that no step is skipped.
type CompletedConfig struct {
	*completedConfig
}

// Complete fills in what follows from the rest.
func (c *Config) Complete() CompletedConfig {
	c.Generic.MaxRequestBodyBytes = MaxRequestBodyBytes
	c.Generic.BuildHandlerChainFunc = buildHandlerChain
	return CompletedConfig{&completedConfig{generic: c.Generic.Complete(c.Informers), extra: c.Extra}}
}

// buildHandlerChain puts the timeouts of whoever stands still outside of everything, the scrubber outside of everything that logs or
// audits a URL, and the request guard right in front of the handlers, where the request is known and authorised.
func buildHandlerChain(api http.Handler, c *genericapiserver.Config) http.Handler {
	guarded := guard.WithRequestGuard(api, c.Serializer, c.MaxRequestBodyBytes)
	c.Authentication.Authenticator = withGrownStack(c.Authentication.Authenticator)
	return guard.WithTimeouts(guard.WithScrub(withoutLimitOnHealth(guarded, c)))
}

// withGrownStack makes room on the stack of the goroutine that upstream starts for each request: authentication is the first thing
// of ours that it calls.
func withGrownStack(next authenticator.Request) authenticator.Request {
	return authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		stack.Grow()
		return next.AuthenticateRequest(r)
	})
}

// healthPaths are what probes ask. Answers to them cost next to nothing.
var healthPaths = []string{"/livez", "/readyz", "/healthz"}

// withoutLimitOnHealth keeps probes apart from --max-requests-inflight: under a flood of reads they would be refused, and a server
// that is merely busy be restarted. In a cluster, priority and fairness exempts them by its own configuration.
func withoutLimitOnHealth(api http.Handler, c *genericapiserver.Config) http.Handler {
	limited := genericapiserver.DefaultBuildHandlerChain(api, c)
	if c.FlowControl != nil {
		return limited
	}
	exempt := *c
	exempt.MaxRequestsInFlight, exempt.MaxMutatingRequestsInFlight = 0, 0
	unlimited := genericapiserver.DefaultBuildHandlerChain(api, &exempt)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if slices.Contains(healthPaths, r.URL.Path) {
			unlimited.ServeHTTP(w, r)
			return
		}
		limited.ServeHTTP(w, r)
	})
}

// New builds the server and installs its API groups.
func (c CompletedConfig) New() (*genericapiserver.GenericAPIServer, error) {
	server, err := c.generic.New("secret-apiserver", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("building the generic API server: %w", err)
	}
	groups, err := c.apiGroups()
	if err != nil {
		return nil, err
	}
	if err := server.InstallAPIGroups(groups...); err != nil {
		return nil, fmt.Errorf("installing the API groups: %w", err)
	}
	return server, nil
}

func (c CompletedConfig) apiGroups() ([]*genericapiserver.APIGroupInfo, error) {
	storage, err := securevalue.NewREST(securevalue.Config{
		Scheme:            Scheme,
		RESTOptions:       c.generic.RESTOptionsGetter,
		DryRunCodec:       NewStorageCodec(),
		Authorizer:        c.generic.Authorization.Authorizer,
		AllowedDecrypters: c.extra.AllowedDecrypters,
		Standalone:        c.extra.Standalone,
	})
	if err != nil {
		return nil, err
	}
	group := genericapiserver.NewDefaultAPIGroupInfo(secret.GroupName, Scheme, runtime.NewParameterCodec(Scheme), Codecs)
	group.NegotiatedSerializer = safecodec.Wrap(Codecs)
	group.VersionedResourcesStorageMap[v1beta1.SchemeGroupVersion.Version] = map[string]rest.Storage{
		secret.Resource: storage,
		secret.Resource + "/" + securevalue.SubresourceRewrap: securevalue.NewRewrapREST(storage, c.extra.Rewrapper),
	}
	groups := []*genericapiserver.APIGroupInfo{&group}
	if c.extra.Standalone {
		reviews := authorization.NewAPIGroups(Scheme, Codecs, c.generic.Authorization.Authorizer, c.generic.RuleResolver)
		for i := range reviews {
			groups = append(groups, &reviews[i])
		}
	}
	return groups, nil
}
