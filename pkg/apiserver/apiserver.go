// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"net/http"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilflowcontrol "k8s.io/apiserver/pkg/util/flowcontrol"
	"k8s.io/apiserver/pkg/util/flowcontrol/fairqueuing"
	flowcontrolrequest "k8s.io/apiserver/pkg/util/flowcontrol/request"
	"k8s.io/client-go/informers"

	"github.com/securevalue/secret-apiserver/pkg/access/selfreview"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/httpguard"
	"github.com/securevalue/secret-apiserver/pkg/registry/securevalue"
	"github.com/securevalue/secret-apiserver/pkg/safecodec"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// MaxRequestBodyBytes bounds a request body. A value of maximum size with every byte escaped as \u00XX, in a manifest
// and again in its last-applied annotation, is far below.
const MaxRequestBodyBytes = 1 << 20

// Config configures the server.
type Config struct {
	// Generic is the configuration of the generic API server, with the RESTOptionsGetter of pkg/sealed.
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
	// Rewrapper re-encrypts stored values; it belongs to the RESTOptionsGetter of Generic.
	Rewrapper securevalue.Rewrapper
	// Servers returns the running servers.
	Servers func(context.Context) ([]sealed.Server, error)
	// SealingKeys are those of spec.sealedValue.
	SealingKeys securevalue.SealingKeys
	// Standalone means running without a cluster: no kube-apiserver for SelfSubjectAccessReview and its kin, and no
	// garbage collector.
	Standalone bool
}

type completedConfig struct {
	generic genericapiserver.CompletedConfig
	extra   ExtraConfig
	places  *httpguard.Places // nil where priority and fairness is on
}

// CompletedConfig is the result of Complete.
type CompletedConfig struct {
	*completedConfig
}

// Complete fills in derived fields.
func (c *Config) Complete() CompletedConfig {
	c.Generic.MaxRequestBodyBytes = MaxRequestBodyBytes
	var places *httpguard.Places
	if c.Generic.FlowControl == nil {
		places = httpguard.NewPlaces(c.Generic.MaxRequestsInFlight, c.Generic.MaxMutatingRequestsInFlight)
		c.Generic.DisabledPostStartHooks.Insert(upstreamInFlightHook)
	}
	c.Generic.BuildHandlerChainFunc = func(api http.Handler, generic *genericapiserver.Config) http.Handler {
		return buildHandlerChain(api, generic, places)
	}
	return CompletedConfig{&completedConfig{generic: c.Generic.Complete(c.Informers), extra: c.Extra, places: places}}
}

// The hooks that update apiserver_current_inflight_requests: upstream's, for the disabled filter, and that of the
// slots.
const (
	upstreamInFlightHook = "max-in-flight-filter"
	placesHook           = "in-flight-places"
)

// buildHandlerChain puts the timeouts outermost, the scrubber outside of everything that logs or audits a URL, and the
// request guard right before the handlers, where the request is parsed and authorized.
//
// The body of a request is read before the request takes a slot: standalone by WithPlaces, which replaces upstream's
// max-in-flight filter; in a cluster before priority and fairness.
func buildHandlerChain(api http.Handler, c *genericapiserver.Config, places *httpguard.Places) http.Handler {
	handler := httpguard.WithRequestGuard(api, c.Serializer, c.MaxRequestBodyBytes)
	chain := *c
	if places == nil {
		chain.FlowControl = bodyFirst{c.FlowControl, c.MaxRequestBodyBytes}
	} else {
		handler = httpguard.WithPlaces(handler, places, c)
		chain.MaxRequestsInFlight, chain.MaxMutatingRequestsInFlight = 0, 0
	}
	chain.Authentication.Authenticator = withGrownStack(c.Authentication.Authenticator)
	handler = genericapiserver.DefaultBuildHandlerChain(handler, &chain)
	return httpguard.WithTimeouts(httpguard.WithLogin(httpguard.WithScrub(handler)))
}

// bodyFirst passes a request to priority and fairness once its body has arrived: a stalled client must not occupy a
// seat of its priority level.
type bodyFirst struct {
	utilflowcontrol.Interface
	maxBytes int64
}

// Handle implements utilflowcontrol.Interface. The request guard answers errors of the body.
func (f bodyFirst) Handle(
	ctx context.Context, digest utilflowcontrol.RequestDigest,
	note func(*flowcontrolv1.FlowSchema, *flowcontrolv1.PriorityLevelConfiguration, string),
	estimate func() flowcontrolrequest.WorkEstimate, queued fairqueuing.QueueNoteFn, execute func(),
) {
	if !httpguard.Reads(digest.RequestInfo) {
		_ = httpguard.Receive(ctx, httpguard.User(digest.User.GetName()), f.maxBytes)
	}
	f.Interface.Handle(ctx, digest, note, estimate, queued, execute)
}

// withGrownStack grows the stack of the goroutine that upstream starts for each request: authentication is the first
// hook that it calls.
func withGrownStack(next authenticator.Request) authenticator.Request {
	return authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		httpguard.GrowStack()
		return next.AuthenticateRequest(r)
	})
}

// New builds the server and installs its API groups.
func (c CompletedConfig) New() (*genericapiserver.GenericAPIServer, error) {
	server, err := c.generic.New("secret-apiserver", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("building the generic API server: %w", err)
	}
	if c.places != nil {
		if err := server.AddPostStartHook(placesHook, func(hook genericapiserver.PostStartHookContext) error {
			go c.places.Observe(hook.Done())
			return nil
		}); err != nil {
			return nil, err
		}
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
		Rewrapper:         c.extra.Rewrapper,
		Servers:           c.extra.Servers,
		SealingKeys:       c.extra.SealingKeys,
		AllowedDecrypters: c.extra.AllowedDecrypters,
		Standalone:        c.extra.Standalone,
	})
	if err != nil {
		return nil, err
	}
	group := genericapiserver.NewDefaultAPIGroupInfo(secret.GroupName, Scheme, runtime.NewParameterCodec(Scheme),
		Codecs)
	group.NegotiatedSerializer = safecodec.Wrap(Codecs)
	group.VersionedResourcesStorageMap[v1beta1.SchemeGroupVersion.Version] = map[string]rest.Storage{
		secret.Resource: storage,
		secret.Resource + "/" + securevalue.SubresourceRewrap: securevalue.NewRewrapREST(storage),
		secret.Resource + "/" + securevalue.SubresourceReseal: securevalue.NewResealREST(storage),
		secret.SealingKeyResource:                             securevalue.NewSealingKeyREST(c.extra.SealingKeys),
	}
	groups := []*genericapiserver.APIGroupInfo{&group}
	if c.extra.Standalone {
		reviews := selfreview.NewAPIGroups(Scheme, Codecs, c.generic.Authorization.Authorizer, c.generic.RuleResolver)
		for i := range reviews {
			groups = append(groups, &reviews[i])
		}
	}
	return groups, nil
}
