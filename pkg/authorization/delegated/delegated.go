// SPDX-License-Identifier: Apache-2.0

package delegated

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/client-go/kubernetes"

	"github.com/securevalue/secret-apiserver/pkg/authentication"
)

// Config says whom to ask and for how long an answer holds.
type Config struct {
	// Client creates SubjectAccessReviews.
	Client kubernetes.Interface
	// AllowTTL and DenyTTL are how long an answer is kept. Zero keeps none.
	AllowTTL, DenyTTL time.Duration
}

// reviewBackoff repeats a review whose connection broke or that kube-apiserver told to come back later.
func reviewBackoff() *wait.Backoff {
	return &wait.Backoff{Duration: 250 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
}

// New returns the authorizer of the API port.
func New(config Config) (authorizer.Authorizer, error) {
	reviewer, err := NewReviewer(config)
	if err != nil {
		return nil, err
	}
	return union.New(
		union.NamedAuthorizer{AuthorizerName: "privileged", Authorizer: authorizerfactory.NewPrivilegedGroups(user.SystemPrivilegedGroup)},
		union.NamedAuthorizer{AuthorizerName: "health-paths", Authorizer: authorizer.AuthorizerFunc(allowHealthPaths)},
		union.NamedAuthorizer{AuthorizerName: "subject-access-review", Authorizer: reviewer},
	)
}

// NewReviewer returns an authorizer that only asks, with a cache of its own.
func NewReviewer(config Config) (authorizer.Authorizer, error) {
	return authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: config.Client.AuthorizationV1(),
		AllowCacheTTL:             config.AllowTTL,
		DenyCacheTTL:              config.DenyTTL,
		WebhookRetryBackoff:       reviewBackoff(),
	}.New()
}

// allowHealthPaths keeps probes working while kube-apiserver is out of reach.
func allowHealthPaths(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if !a.IsResourceRequest() && a.GetVerb() == "get" && authentication.IsHealthPath(a.GetPath()) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}
