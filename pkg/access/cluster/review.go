// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/webhook"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/httpguard"
)

const (
	// reviewTimeout bounds a review with its retries.
	reviewTimeout = 10 * time.Second
	// MaxReviews is how many reviews each port has in flight; one peer has a quarter of them at most. Requests with a token that nobody
	// can be asked about then get 429.
	MaxReviews = 16
)

// reviewBackoff repeats a review whose connection broke or that kube-apiserver told to come back later.
func reviewBackoff() wait.Backoff {
	return wait.Backoff{Duration: 250 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
}

// newReviewer asks TokenReview and keeps answers for ttl. An error is never kept. The name is that of its pool.
func newReviewer(name string, client authenticationv1.AuthenticationV1Interface, ttl time.Duration) (authenticator.Token, error) {
	authenticatorfactory.RegisterMetrics()
	// No implicit audiences: where one is asked for, an answer that names none is a refusal.
	review, err := webhook.NewFromInterface(client, nil, reviewBackoff(), reviewTimeout, webhook.AuthenticatorMetrics{
		RecordRequestTotal:   authenticatorfactory.RecordRequestTotal,
		RecordRequestLatency: authenticatorfactory.RecordRequestLatency,
	})
	if err != nil {
		return nil, err
	}
	r := &reviewer{pool: httpguard.NewPool(name, MaxReviews), asked: map[string]asked{}}
	r.cached = cache.New(bounded{unlogged{review}, r}, false, ttl, ttl)
	return r, nil
}

// reviewer bounds the reviews of a cache. The cache asks once for all who bring the same token and does so outside of their requests, so
// whose review it is has to be remembered beside it.
type reviewer struct {
	pool   *httpguard.Pool
	cached authenticator.Token

	mu    sync.Mutex
	asked map[string]asked
}

// asked is which peer brought a token first, and how many requests wait for what it is.
type asked struct {
	peer    httpguard.Caller
	waiting int
}

// AuthenticateToken implements authenticator.Token.
func (r *reviewer) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	r.wait(token, httpguard.PeerFrom(ctx), 1)
	defer r.wait(token, httpguard.Caller{}, -1)
	response, ok, err := r.cached.AuthenticateToken(ctx, token)
	if errors.Is(err, httpguard.ErrBusy) {
		httpguard.SetBusy(ctx)
	}
	return response, ok, err
}

func (r *reviewer) wait(token string, peer httpguard.Caller, change int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.asked[token]
	if !ok {
		a.peer = peer
	}
	if a.waiting += change; a.waiting == 0 {
		delete(r.asked, token)
		return
	}
	r.asked[token] = a
}

func (r *reviewer) peerOf(token string) httpguard.Caller {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[token].peer
}

// bounded is what the cache asks.
type bounded struct {
	next authenticator.Token
	*reviewer
}

// AuthenticateToken implements authenticator.Token.
func (b bounded) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	peer := b.peerOf(token)
	if !b.pool.Take(peer, 1) {
		return nil, false, httpguard.ErrBusy
	}
	defer b.pool.Return(peer, 1)
	return b.next.AuthenticateToken(ctx, token)
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
