// SPDX-License-Identifier: Apache-2.0

package cluster

import (
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

// DefaultLookupTimeout is how long a start waits for kube-apiserver.
const DefaultLookupTimeout = 30 * time.Second

// AuthenticationConfig says which kube-apiserver is asked and what the decrypt port accepts.
type AuthenticationConfig struct {
	// Client reads the ConfigMap and reviews tokens.
	Client kubernetes.Interface
	// TokenCacheTTL is how long Request keeps the answer of a TokenReview.
	TokenCacheTTL time.Duration
	// Audience is what a token must be made out to for Credentials. Empty: Credentials takes no token.
	Audience string
	// OpaqueTokens makes Credentials review tokens that are not JWTs naming Audience: those of a webhook authenticator of the cluster.
	OpaqueTokens bool
	// AudienceCacheTTL is how long Credentials keeps the answer of a TokenReview.
	AudienceCacheTTL time.Duration
	// ServiceCAFile is the value of --decrypt-client-ca-file. Empty: Credentials takes no certificate.
	ServiceCAFile string
	// LookupTimeout bounds the first lookup. Zero means DefaultLookupTimeout.
	LookupTimeout time.Duration
}

// Authenticator tells who sends a request.
type Authenticator struct {
	source      *source
	services    *serviceCA // nil without AuthenticationConfig.ServiceCAFile
	request     authenticator.Request
	credentials authenticator.Request
}

// NewAuthenticator reads the ConfigMap. It fails when kube-apiserver does not answer in time, or when no front proxy could be
// believed.
func NewAuthenticator(ctx context.Context, config AuthenticationConfig) (*Authenticator, error) {
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
	if a.request, err = local.WithAnonymous(known, local.DefaultAnonymousPaths()); err != nil {
		return nil, err
	}
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
		ours := authenticator.Token(madeOutTo{audience: config.Audience, next: tokens})
		if !config.OpaqueTokens {
			ours = named{audience: config.Audience, next: ours}
		}
		known = append(known, bearertoken.New(ours))
	}
	return group.NewAuthenticatedGroupAdder(union.New(known...)), nil
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

// Credentials is for a listener that no front proxy stands before and on which nobody is anonymous: tokens made out
// to Config.Audience, and certificates of AuthenticationConfig.ServiceCAFile. Those of the cluster's client CA are of people.
func (a *Authenticator) Credentials() authenticator.Request { return a.credentials }

// ClientCA signs client certificates of the cluster. It is for the TLS configuration of the API port, so that clients
// are asked for one, and empty when the cluster has no such CA.
func (a *Authenticator) ClientCA() dynamiccertificates.CAContentProvider {
	return &currentCA{source: a.source, key: keyClientCA, pick: func(t *trust) dynamiccertificates.CAContentProvider { return t.clientCA }}
}

// ServiceCA is for the TLS configuration of the decrypt port. It is nil without AuthenticationConfig.ServiceCAFile: then no client is
// asked for a certificate.
func (a *Authenticator) ServiceCA() dynamiccertificates.CAContentProvider {
	if a.services == nil {
		return nil
	}
	return a.services
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

// Fault returns why the ConfigMap as it is now is not in force, or why no front proxy is believed, or nil.
func (a *Authenticator) Fault() error {
	if fault := a.source.fault.Load(); fault != nil {
		return *fault
	}
	return a.source.load().proxyFault
}

// FileFaults returns, by the flag of each file, what reports why the file as it is now is not in force.
func (a *Authenticator) FileFaults() map[string]func() error {
	if a.services == nil {
		return nil
	}
	return map[string]func() error{flagServiceCA: a.services.fault}
}

// Run follows the ConfigMap and AuthenticationConfig.ServiceCAFile until ctx ends.
func (a *Authenticator) Run(ctx context.Context) {
	var running sync.WaitGroup
	if a.services != nil {
		running.Go(func() { a.services.file.Run(ctx, reload.DefaultInterval) })
	}
	a.source.run(ctx)
	running.Wait()
}
