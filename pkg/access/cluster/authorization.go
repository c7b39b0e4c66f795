// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/client-go/kubernetes"

	"github.com/securevalue/secret-apiserver/pkg/access/local"
)

// AuthorizationConfig configures an authorizer.
type AuthorizationConfig struct {
	// Client creates SubjectAccessReviews.
	Client kubernetes.Interface
	// AllowTTL and DenyTTL are how long decisions are cached. Zero disables the cache.
	AllowTTL, DenyTTL time.Duration
}

// NewAuthorizer returns the authorizer of the API port.
func NewAuthorizer(config AuthorizationConfig) (authorizer.Authorizer, error) {
	reviewer, err := NewReviewAuthorizer(config)
	if err != nil {
		return nil, err
	}
	privileged := authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)
	return union.New(
		union.NamedAuthorizer{AuthorizerName: "privileged", Authorizer: privileged},
		union.NamedAuthorizer{AuthorizerName: "health-paths", Authorizer: authorizer.AuthorizerFunc(allowHealthPaths)},
		union.NamedAuthorizer{AuthorizerName: "subject-access-review", Authorizer: reviewer},
	)
}

// NewReviewAuthorizer returns an authorizer by SubjectAccessReviews only, with its own cache.
func NewReviewAuthorizer(config AuthorizationConfig) (authorizer.Authorizer, error) {
	backoff := reviewBackoff()
	return authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: config.Client.AuthorizationV1(),
		AllowCacheTTL:             config.AllowTTL,
		DenyCacheTTL:              config.DenyTTL,
		WebhookRetryBackoff:       &backoff,
	}.New()
}

// allowHealthPaths keeps probes working while kube-apiserver is unavailable.
func allowHealthPaths(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if !a.IsResourceRequest() && a.GetVerb() == "get" && local.IsHealthPath(a.GetPath()) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}
