// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
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
	// reviewTimeout limits a review with its retries.
	reviewTimeout = 10 * time.Second
	// MaxReviews is the number of reviews in flight per port; a peer has at most a quarter of them. Further requests
	// with unknown tokens get 429.
	MaxReviews = 16
)

// reviewBackoff retries a review after a broken connection or when kube-apiserver asks for it.
func reviewBackoff() wait.Backoff {
	return wait.Backoff{Duration: 250 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: 5}
}

// newReviewer authenticates by TokenReviews and caches answers, but no errors, for ttl. name is the name of its pool.
func newReviewer(
	name string, client authenticationv1.AuthenticationV1Interface, ttl time.Duration,
) (authenticator.Token, error) {
	authenticatorfactory.RegisterMetrics()
	// No implicit audiences: if a review asks for one, an answer without audiences is a refusal.
	review, err := webhook.NewFromInterface(client, nil, reviewBackoff(), reviewTimeout, webhook.AuthenticatorMetrics{
		RecordRequestTotal:   authenticatorfactory.RecordRequestTotal,
		RecordRequestLatency: authenticatorfactory.RecordRequestLatency,
	})
	if err != nil {
		return nil, err
	}
	r := &reviewer{pool: httpguard.NewPool(name, MaxReviews), pending: map[string]pending{}}
	r.cached = cache.New(bounded{unlogged{review}, r}, false, ttl, ttl)
	return r, nil
}

// reviewer limits the reviews of a cache. The cache sends one review for concurrent requests with the same token,
// outside of their contexts, so the peer of a review is kept separately.
type reviewer struct {
	pool   *httpguard.Pool
	cached authenticator.Token

	mu      sync.Mutex
	pending map[string]pending
}

// pending is the peer that sent a token first, and the number of requests that wait for its review.
type pending struct {
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
	a, ok := r.pending[token]
	if !ok {
		a.peer = peer
	}
	if a.waiting += change; a.waiting == 0 {
		delete(r.pending, token)
		return
	}
	r.pending[token] = a
}

func (r *reviewer) peerOf(token string) httpguard.Caller {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pending[token].peer
}

// bounded is the authenticator behind the cache.
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

// unlogged keeps the client from logging bodies, as it does at -v=8: a TokenReview contains the token, twice.
type unlogged struct{ next authenticator.Token }

// AuthenticateToken implements authenticator.Token.
func (u unlogged) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	return u.next.AuthenticateToken(klog.NewContext(ctx, logr.Discard()), token)
}

// maxTokenBytes limits the tokens that are parsed. That of a ServiceAccount has one to two KB; kube-apiserver accepts
// headers of up to a MB.
const maxTokenBytes = 64 << 10

// forAudience accepts only tokens for an audience. Unless opaque is set, it refuses tokens that cannot be for the
// audience without a review: anything but a JWT, and JWTs without it in aud. Nothing is verified here; other tokens are
// reviewed.
//
// The expiry is left to the review. Forged tokens may have any, so checking it would stop nobody, and it would refuse
// good tokens if the clock of this machine is fast.
type forAudience struct {
	audience string
	opaque   bool
	next     authenticator.Token
}

// AuthenticateToken implements authenticator.Token.
func (f forAudience) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	if !f.opaque && !names(token, f.audience) {
		return nil, false, nil
	}
	ctx = authenticator.WithAudiences(ctx, authenticator.Audiences{f.audience})
	response, ok, err := f.next.AuthenticateToken(ctx, token)
	if err != nil || !ok || !response.Audiences.Has(f.audience) {
		return nil, false, err
	}
	return response, true, nil
}

// names reports whether a token is a signed JWT whose aud, a string or a list of strings, contains the audience.
func names(token, audience string) bool {
	if len(token) > maxTokenBytes {
		return false
	}
	header, rest, ok := strings.Cut(token, ".")
	payload, signature, signed := strings.Cut(rest, ".")
	if !ok || !signed || header == "" || signature == "" || strings.Contains(signature, ".") {
		return false
	}
	data, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(payload, "="))
	if err != nil {
		return false
	}
	var claims struct {
		Audience audiences `json:"aud"`
	}
	return json.Unmarshal(data, &claims) == nil && authenticator.Audiences(claims.Audience).Has(audience)
}

// audiences reads both forms of aud (RFC 7519, section 4.1.3).
type audiences []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audiences) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audiences{one}
		return nil
	}
	var many []string
	if err := json.Unmarshal(data, &many); err != nil {
		return err
	}
	*a = many
	return nil
}
