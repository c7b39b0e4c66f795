// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"net/http"
	"path"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	unionrequest "k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// Config names the sources of credentials. Every field is optional; without any of them every request outside of the
// health paths is refused.
type Config struct {
	// TokenAuthFile is the value of --token-auth-file. TokenFileOptional: it may be missing.
	TokenAuthFile     string
	TokenFileOptional bool
	// ClientCAFile is the value of --client-ca-file.
	ClientCAFile string
	// AuthenticationConfigFile is the value of --authentication-config.
	AuthenticationConfigFile string
	// Admin authenticates the server's own admin token, before other tokens.
	Admin authenticator.Token
}

// Authenticator authenticates requests.
type Authenticator struct {
	files       []*reload.File
	clientCA    *ClientCA
	issuers     *issuers
	credentials authenticator.Request
	request     authenticator.Request
}

// New reads the files and fails on the first invalid one. An unreachable issuer is not an error. Connections to issuers
// live as long as ctx, which must be the life of the server.
func New(ctx context.Context, config Config) (*Authenticator, error) {
	a := &Authenticator{}
	requests, strict := a.addFiles(config)
	for _, f := range a.files {
		if err := f.Load(ctx); err != nil {
			return nil, err
		}
	}
	a.credentials = group.NewAuthenticatedGroupAdder(unionrequest.New(strict...))
	a.request = WithAnonymous(group.NewAuthenticatedGroupAdder(unionrequest.New(requests...)))
	return a, nil
}

// addFiles adds the files and returns their authenticators in order: for Request, and for Credentials, which verifies a
// JWT more often.
func (a *Authenticator) addFiles(config Config) (requests, strict []authenticator.Request) {
	if config.ClientCAFile != "" {
		ca, file := NewClientCA("client-ca-file", config.ClientCAFile, nil)
		a.clientCA, a.files = ca, append(a.files, file)
		requests = append(requests, ByCertificate(ca.VerifyOptions, x509.CommonNameUserConversion))
	}
	var tokens []authenticator.Token
	if config.Admin != nil {
		tokens = append(tokens, config.Admin)
	}
	if config.TokenAuthFile != "" {
		table := &tokenTable{}
		a.files = append(a.files, &reload.File{
			Flag: "token-auth-file", Path: config.TokenAuthFile, Holds: reload.Credentials,
			Optional: config.TokenFileOptional, Apply: table.apply,
		})
		tokens = append(tokens, table)
	}
	strictTokens := tokens
	if config.AuthenticationConfigFile != "" {
		a.issuers = newIssuers()
		file := &reload.File{
			Flag: "authentication-config", Path: config.AuthenticationConfigFile, Holds: reload.Rights,
			Apply: a.issuers.apply,
		}
		a.files = append(a.files, file)
		strictTokens = append(slices.Clone(tokens), a.issuers.strict())
		tokens = append(tokens, a.issuers)
	}
	strict = append(slices.Clone(requests), bearertoken.New(union.New(strictTokens...)))
	return append(requests, bearertoken.New(union.New(tokens...))), strict
}

// Request authenticates by credentials, and without credentials on the health paths.
func (a *Authenticator) Request() authenticator.Request { return a.request }

// Credentials authenticates by credentials only, for a listener without anonymous access. Accepted JWTs are cached for
// half a second.
func (a *Authenticator) Credentials() authenticator.Request { return a.credentials }

// ClientCA is for the TLS configuration of each listener, which then requests client certificates. It is nil without
// --client-ca-file.
func (a *Authenticator) ClientCA() dynamiccertificates.CAContentProvider {
	if a.clientCA == nil {
		return nil
	}
	return a.clientCA
}

// FileFaults returns, by the flag of each file, a function that returns why the file on disk is not in force, or nil.
func (a *Authenticator) FileFaults() map[string]func() error {
	faults := map[string]func() error{}
	for _, f := range a.files {
		faults[f.Flag] = f.Fault
	}
	return faults
}

// HealthCheck names the issuers that have not answered yet. The server stays ready.
func (a *Authenticator) HealthCheck() error {
	if a.issuers == nil {
		return nil
	}
	return a.issuers.health()
}

// Run applies changes of the files until ctx ends.
func (a *Authenticator) Run(ctx context.Context) {
	var running sync.WaitGroup
	for _, f := range a.files {
		running.Go(func() { f.Run(ctx, reload.DefaultInterval) })
	}
	running.Wait()
}

// healthPaths answer without credentials, for probes of kubelets and load balancers.
var healthPaths = []string{"/livez", "/readyz", "/healthz"}

// IsHealthPath reports whether a path is /livez, /readyz or /healthz, or below one of them. A path that is not clean is
// not: /livez/../apis is not below /livez.
func IsHealthPath(requested string) bool {
	if path.Clean(requested) != strings.TrimSuffix(requested, "/") {
		return false
	}
	return slices.ContainsFunc(healthPaths, func(p string) bool {
		return requested == p || strings.HasPrefix(requested, p+"/")
	})
}

// WithAnonymous allows requests without credentials on the health paths, as system:anonymous. Upstream's conditions are
// exact paths only, and the single checks (/readyz/etcd) are not known here. Invalid credentials are refused
// everywhere: they never become anonymous.
func WithAnonymous(credentials authenticator.Request) authenticator.Request {
	nobody := anonymous.NewAuthenticator(nil)
	onHealthPaths := authenticator.RequestFunc(func(req *http.Request) (*authenticator.Response, bool, error) {
		if !IsHealthPath(req.URL.Path) {
			return nil, false, nil
		}
		return nobody.AuthenticateRequest(req)
	})
	return unionrequest.NewFailOnError(credentials, onHealthPaths)
}
