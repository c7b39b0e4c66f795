// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

// get asks for a securevalue of a namespace.
func get(name string, groups ...string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: name, Groups: groups}, Verb: "get", Namespace: "ns",
		APIGroup:   "secret.grafana.app",
		APIVersion: "v1beta1", Resource: "securevalues", Name: "one", ResourceRequest: true,
	}
}

func path(verb, path string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{User: &user.DefaultInfo{Name: user.Anonymous}, Verb: verb, Path: path}
}

// allowAnn lets ann do what get asks for, and nothing else.
func allowAnn(s authorizationv1.SubjectAccessReviewSpec) bool {
	r := s.ResourceAttributes
	return s.User == "ann" && r != nil && *r == authorizationv1.ResourceAttributes{
		Verb: "get", Namespace: "ns", Group: "secret.grafana.app", Version: "v1beta1", Resource: "securevalues",
		Name: "one",
	}
}

func newAuthorizer(t *testing.T, api *kubeapi.Server, build func(AuthorizationConfig) (authorizer.Authorizer, error),
	ttl time.Duration) authorizer.Authorizer {
	t.Helper()
	a, err := build(AuthorizationConfig{Client: api.Client(t), AllowTTL: ttl, DenyTTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wantAllowed(t *testing.T, a authorizer.Authorizer, attributes authorizer.Attributes, want bool) {
	t.Helper()
	decision, reason, err := a.Authorize(t.Context(), attributes)
	if err != nil || (decision == authorizer.DecisionAllow) != want {
		t.Errorf("%s %s%s as %v: decision %v (%s), error %v, want allowed: %t",
			attributes.GetVerb(), attributes.GetResource(), attributes.GetPath(), attributes.GetUser(), decision,
			reason, err, want)
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	api := kubeapi.Start(t)
	api.Allow(allowAnn)
	port, decrypt := newAuthorizer(t, api, NewAuthorizer, 0), newAuthorizer(t, api, NewReviewAuthorizer, 0)
	resourceNamedLivez := get("bob")
	resourceNamedLivez.Path = "/livez"
	for _, test := range []struct {
		attributes    authorizer.Attributes
		port, decrypt bool
	}{
		{get("ann"), true, true},
		{get("bob"), false, false},
		{get("bob", user.SystemPrivilegedGroup), true, false}, // the decrypt port only asks, and this one says no
		{get("bob", "System:masters", "system:masters "), false, false},
		{path("get", "/livez"), true, false},
		{path("get", "/readyz/etcd"), true, false},
		{path("post", "/livez"), false, false},
		{path("get", "/livez/../apis"), false, false},
		{path("get", "/livezz"), false, false},
		{path("get", "/metrics"), false, false},
		{resourceNamedLivez, false, false},
	} {
		wantAllowed(t, port, test.attributes, test.port)
		wantAllowed(t, decrypt, test.attributes, test.decrypt)
	}
}

// An answer is kept for as long as the configuration says.
func TestCache(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		ttl  time.Duration
		kept bool
	}{"kept": {time.Hour, true}, "not kept": {0, false}} {
		t.Run(name, func(t *testing.T) {
			api := kubeapi.Start(t)
			var allowed atomic.Bool
			api.Allow(func(authorizationv1.SubjectAccessReviewSpec) bool { return allowed.Load() })
			a := newAuthorizer(t, api, NewAuthorizer, test.ttl)
			wantAllowed(t, a, get("bob"), false)
			allowed.Store(true)
			wantAllowed(t, a, get("ann"), true)
			wantAllowed(t, a, get("bob"), !test.kept)
			allowed.Store(false)
			wantAllowed(t, a, get("ann"), test.kept)
		})
	}
}

// Two authorizers share no answer, so that the decrypt port can keep its own for less long.
func TestCachesAreApart(t *testing.T) {
	t.Parallel()
	api := kubeapi.Start(t)
	var allowed atomic.Bool
	api.Allow(func(authorizationv1.SubjectAccessReviewSpec) bool { return allowed.Load() })
	allowed.Store(true)
	wantAllowed(t, newAuthorizer(t, api, NewAuthorizer, time.Hour), get("ann"), true)
	allowed.Store(false)
	wantAllowed(t, newAuthorizer(t, api, NewReviewAuthorizer, time.Hour), get("ann"), false)
}

// Without an answer the request is not allowed, and the error is not cached.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	api := kubeapi.Start(t)
	api.Allow(allowAnn)
	api.SetDown(true)
	port, decrypt := newAuthorizer(t, api, NewAuthorizer, time.Hour),
		newAuthorizer(t, api, NewReviewAuthorizer, time.Hour)
	for _, a := range []authorizer.Authorizer{port, decrypt} {
		if decision, _, err := a.Authorize(t.Context(), get("ann")); err == nil ||
			decision == authorizer.DecisionAllow {
			t.Errorf("decision %v, error %v, want an error", decision, err)
		}
	}
	wantAllowed(t, port, path("get", "/livez"), true)
	api.SetDown(false)
	wantAllowed(t, port, get("ann"), true)
	wantAllowed(t, decrypt, get("ann"), true)
}
