// SPDX-License-Identifier: Apache-2.0

package delegated

import (
	"context"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/authenticatorfactory"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/headerrequest"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"

	"github.com/securevalue/secret-apiserver/pkg/authentication"
	"github.com/securevalue/secret-apiserver/pkg/authentication/clientcert"
)

// DefaultLookupTimeout is how long a start waits for kube-apiserver.
const DefaultLookupTimeout = 30 * time.Second

// Config says whom to ask.
type Config struct {
	// Client reads the ConfigMap and reviews tokens.
	Client kubernetes.Interface
	// TokenCacheTTL is how long Request keeps the answer of a TokenReview.
	TokenCacheTTL time.Duration
	// Audience is what a token must be made out to for Credentials. Empty: Credentials takes no token.
	Audience string
	// AudienceCacheTTL is how long Credentials keeps the answer of a TokenReview.
	AudienceCacheTTL time.Duration
	// LookupTimeout bounds the first lookup. Zero means DefaultLookupTimeout.
	LookupTimeout time.Duration
}

// Authenticator tells who sends a request.
type Authenticator struct {
	source      *source
	request     authenticator.Request
	credentials authenticator.Request
}

// New reads the ConfigMap. It fails when kube-apiserver does not answer in time, or when no front proxy could be
// believed.
func New(ctx context.Context, config Config) (*Authenticator, error) {
	timeout := config.LookupTimeout
	if timeout <= 0 {
		timeout = DefaultLookupTimeout
	}
	a := &Authenticator{source: &source{client: config.Client}}
	lookup, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := a.source.lookup(lookup); err != nil {
		return nil, err
	}
	verify := a.ClientCA().VerifyOptions
	certificates := clientcert.Remember(verify, x509.NewDynamic(verify, x509.CommonNameUserConversion))
	tokens, err := newReviewer(config.Client.AuthenticationV1(), config.TokenCacheTTL)
	if err != nil {
		return nil, err
	}
	known := group.NewAuthenticatedGroupAdder(union.New(proxied{a.source}, certificates, bearertoken.New(tokens)))
	if a.request, err = authentication.WithAnonymous(known, authentication.DefaultAnonymousPaths()); err != nil {
		return nil, err
	}
	a.credentials, err = newCredentials(config, certificates)
	return a, err
}

func newCredentials(config Config, certificates authenticator.Request) (authenticator.Request, error) {
	if config.Audience == "" {
		return group.NewAuthenticatedGroupAdder(certificates), nil
	}
	tokens, err := newReviewer(config.Client.AuthenticationV1(), config.AudienceCacheTTL)
	if err != nil {
		return nil, err
	}
	ours := bearertoken.New(madeOutTo{audience: config.Audience, next: tokens})
	return group.NewAuthenticatedGroupAdder(union.New(certificates, ours)), nil
}

// proxied believes the front proxy that the current trust names.
type proxied struct{ source *source }

// AuthenticateRequest implements authenticator.Request.
func (p proxied) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	proxy := p.source.load().proxy
	if proxy == nil {
		return nil, false, nil
	}
	return proxy.AuthenticateRequest(req)
}

// Request is for the API port: front-proxy headers, client certificates, tokens, and nobody on the health paths.
func (a *Authenticator) Request() authenticator.Request { return a.request }

// Credentials is for a listener that no front proxy stands before and on which nobody is anonymous: client
// certificates, and tokens made out to Config.Audience.
func (a *Authenticator) Credentials() authenticator.Request { return a.credentials }

// ClientCA signs client certificates. It is for the TLS configuration of each listener, so that clients are asked for
// one, and empty when the cluster has no such CA.
func (a *Authenticator) ClientCA() dynamiccertificates.CAContentProvider {
	return &currentCA{source: a.source, key: keyClientCA, pick: func(t *trust) dynamiccertificates.CAContentProvider { return t.clientCA }}
}

// ProxyCA signs the front proxy's certificate. It is for the TLS configuration of the API port.
func (a *Authenticator) ProxyCA() dynamiccertificates.CAContentProvider {
	return &currentCA{source: a.source, key: keyProxyCA, pick: func(t *trust) dynamiccertificates.CAContentProvider { return t.proxyCA }}
}

// Headers names the front proxy's headers, which no handler may see.
func (a *Authenticator) Headers() *authenticatorfactory.RequestHeaderConfig {
	list := func(pick func(headers) []string) headerrequest.StringSliceProvider {
		return headerrequest.StringSliceProviderFunc(func() []string { return pick(a.source.load().headers) })
	}
	return &authenticatorfactory.RequestHeaderConfig{
		UsernameHeaders:     list(func(h headers) []string { return h.user }),
		UIDHeaders:          list(func(h headers) []string { return h.uid }),
		GroupHeaders:        list(func(h headers) []string { return h.group }),
		ExtraHeaderPrefixes: list(func(h headers) []string { return h.extraPrefix }),
	}
}

// Run follows the ConfigMap until ctx ends.
func (a *Authenticator) Run(ctx context.Context) { a.source.run(ctx) }
