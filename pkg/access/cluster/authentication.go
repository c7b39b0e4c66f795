// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"cmp"
	"context"
	"net/http"
	"sync"
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

	"github.com/securevalue/secret-apiserver/pkg/access/local"
	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// DefaultLookupTimeout is how long the start waits for kube-apiserver.
const DefaultLookupTimeout = 30 * time.Second

// AuthenticationConfig configures an Authenticator.
type AuthenticationConfig struct {
	// Client reads the ConfigMap and reviews tokens.
	Client kubernetes.Interface
	// TokenCacheTTL is how long Request caches a TokenReview.
	TokenCacheTTL time.Duration
	// Audience that tokens for Credentials must be issued for. Empty: Credentials accepts no tokens.
	Audience string
	// OpaqueTokens makes Credentials review tokens that are not JWTs for Audience: those of a webhook authenticator of
	// the cluster.
	OpaqueTokens bool
	// AudienceCacheTTL is how long Credentials caches a TokenReview.
	AudienceCacheTTL time.Duration
	// ServiceCAFile is the value of --decrypt-client-ca-file. Empty: Credentials accepts no certificates.
	ServiceCAFile string
	// LookupTimeout of the first lookup. Zero means DefaultLookupTimeout.
	LookupTimeout time.Duration
}

// Authenticator authenticates requests.
type Authenticator struct {
	source      *source
	services    *serviceCA // nil without AuthenticationConfig.ServiceCAFile
	request     authenticator.Request
	credentials authenticator.Request
}

// NewAuthenticator reads the ConfigMap. It fails when kube-apiserver does not answer in time, or when the ConfigMap
// allows no front proxy.
func NewAuthenticator(ctx context.Context, config AuthenticationConfig) (*Authenticator, error) {
	a := &Authenticator{source: &source{client: config.Client}}
	lookup, cancel := context.WithTimeout(ctx, cmp.Or(config.LookupTimeout, DefaultLookupTimeout))
	defer cancel()
	if err := a.source.lookup(lookup); err != nil {
		return nil, err
	}
	if config.ServiceCAFile != "" {
		a.services = newServiceCA(config.ServiceCAFile, a.source)
		if err := a.services.file.Load(ctx); err != nil {
			return nil, err
		}
	}
	certificates := local.ByCertificate(a.ClientCA().VerifyOptions, x509.CommonNameUserConversion)
	tokens, err := newReviewer("api_token_reviews", config.Client.AuthenticationV1(), config.TokenCacheTTL)
	if err != nil {
		return nil, err
	}
	known := group.NewAuthenticatedGroupAdder(union.New(proxied{a.source}, certificates, bearertoken.New(tokens)))
	a.request = local.WithAnonymous(known)
	a.credentials, err = a.newCredentials(config)
	return a, err
}

func (a *Authenticator) newCredentials(config AuthenticationConfig) (authenticator.Request, error) {
	var known []authenticator.Request
	if a.services != nil {
		known = append(known, local.ByCertificate(a.services.VerifyOptions, a.services))
	}
	if config.Audience != "" {
		tokens, err := newReviewer("decrypt_token_reviews", config.Client.AuthenticationV1(), config.AudienceCacheTTL)
		if err != nil {
			return nil, err
		}
		known = append(known, bearertoken.New(forAudience{config.Audience, config.OpaqueTokens, tokens}))
	}
	return group.NewAuthenticatedGroupAdder(union.New(known...)), nil
}

// proxied authenticates by the front proxy of the current trust.
type proxied struct{ source *source }

// AuthenticateRequest implements authenticator.Request.
func (p proxied) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	proxy := p.source.load().proxy
	if proxy == nil {
		return nil, false, nil
	}
	return proxy.AuthenticateRequest(req)
}

// Request is for the API port: front-proxy headers, client certificates, tokens, and anonymous access to health paths.
func (a *Authenticator) Request() authenticator.Request { return a.request }

// Credentials is for a listener without front proxy and anonymous access: tokens for AuthenticationConfig.Audience, and
// certificates of AuthenticationConfig.ServiceCAFile. The cluster's client CA signs for people and is not accepted.
func (a *Authenticator) Credentials() authenticator.Request { return a.credentials }

// ClientCA is the client CA of the cluster, for the TLS configuration of the API port, which then requests
// certificates. It is empty when the cluster has none.
func (a *Authenticator) ClientCA() dynamiccertificates.CAContentProvider {
	return &currentCA{a.source, keyClientCA, func(t *trust) dynamiccertificates.CAContentProvider { return t.clientCA }}
}

// ServiceCA is for the TLS configuration of the decrypt port. It is nil without AuthenticationConfig.ServiceCAFile:
// then the port requests no certificates.
func (a *Authenticator) ServiceCA() dynamiccertificates.CAContentProvider {
	if a.services == nil {
		return nil
	}
	return a.services
}

// ProxyCA is the CA of the front proxy, for the TLS configuration of the API port.
func (a *Authenticator) ProxyCA() dynamiccertificates.CAContentProvider {
	return &currentCA{a.source, keyProxyCA, func(t *trust) dynamiccertificates.CAContentProvider { return t.proxyCA }}
}

// Headers are the front proxy's headers, which handlers must not see.
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

// Fault returns why the current ConfigMap is not in force, or why it allows no front proxy, or nil.
func (a *Authenticator) Fault() error {
	if fault := a.source.fault.Load(); fault != nil {
		return *fault
	}
	return a.source.load().proxyFault
}

// FileFaults returns, by the flag of each file, a function that returns why the file on disk is not in force, or nil.
func (a *Authenticator) FileFaults() map[string]func() error {
	if a.services == nil {
		return nil
	}
	return map[string]func() error{flagServiceCA: a.services.fault}
}

// Run watches the ConfigMap and AuthenticationConfig.ServiceCAFile until ctx ends.
func (a *Authenticator) Run(ctx context.Context) {
	var running sync.WaitGroup
	if a.services != nil {
		running.Go(func() { a.services.file.Run(ctx, reload.DefaultInterval) })
	}
	a.source.run(ctx)
	running.Wait()
}
