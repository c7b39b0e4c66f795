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
	places  *httpguard.Places // nil where priority and fairness is on
}

// CompletedConfig can only come from Complete, so that no step is skipped.
type CompletedConfig struct {
	*completedConfig
}

// Complete fills in what follows from the rest.
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

// The hooks that keep apiserver_current_inflight_requests: upstream's, for the filter that is turned off, and that of the places.
const (
	upstreamInFlightHook = "max-in-flight-filter"
	placesHook           = "in-flight-places"
)

// buildHandlerChain puts the timeouts of whoever stands still outside of everything, the scrubber outside of everything that logs or
// audits a URL, and the request guard right in front of the handlers, where the request is known and authorised.
//
// In either mode the body of a request is read before the request takes a place: standalone by the places, behind authorization, so
// that upstream's max-in-flight filter is turned off; in a cluster before priority and fairness.
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

// bodyFirst lets priority and fairness see a request once its body is there. Until then it would hold a seat of its priority level,
// for as long as its client likes.
type bodyFirst struct {
	utilflowcontrol.Interface
	maxBytes int64
}

// Handle implements utilflowcontrol.Interface. What is wrong with a body is answered by the request guard.
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

// withGrownStack makes room on the stack of the goroutine that upstream starts for each request: authentication is the first thing
// of ours that it calls.
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
		secret.Resource + "/" + securevalue.SubresourceRewrap: securevalue.NewRewrapREST(storage),
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
