// SPDX-License-Identifier: Apache-2.0

package delegated

import (
	"context"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/klog/v2"
)

// reviewTimeout bounds a review with its retries.
const reviewTimeout = 10 * time.Second

// reviewBackoff repeats a review whose connection broke or that kube-apiserver told to come back later.
func reviewBackoff() wait.Backoff {
	return wait.Backoff{Duration: 250 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
}

// newReviewer asks TokenReview and keeps answers for ttl. An error is never kept.
func newReviewer(client authenticationv1.AuthenticationV1Interface, ttl time.Duration) (authenticator.Token, error) {
	authenticatorfactory.RegisterMetrics()
	// No implicit audiences: where one is asked for, an answer that names none is a refusal.
	review, err := webhook.NewFromInterface(client, nil, reviewBackoff(), reviewTimeout, webhook.AuthenticatorMetrics{
		RecordRequestTotal:   authenticatorfactory.RecordRequestTotal,
		RecordRequestLatency: authenticatorfactory.RecordRequestLatency,
	})
	if err != nil {
		return nil, err
	}
	return cache.New(unlogged{review}, false, ttl, ttl), nil
}

// unlogged keeps the client from logging bodies, which it does at -v=8: a TokenReview holds the token, twice.
type unlogged struct{ next authenticator.Token }

// AuthenticateToken implements authenticator.Token.
func (u unlogged) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	return u.next.AuthenticateToken(klog.NewContext(ctx, logr.Discard()), token)
}

// madeOutTo accepts only tokens of the audience.
type madeOutTo struct {
	audience string
	next     authenticator.Token
}

// AuthenticateToken implements authenticator.Token.
func (m madeOutTo) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	response, ok, err := m.next.AuthenticateToken(authenticator.WithAudiences(ctx, authenticator.Audiences{m.audience}), token)
	if err != nil || !ok || !response.Audiences.Has(m.audience) {
		return nil, false, err
	}
	return response, true, nil
}
