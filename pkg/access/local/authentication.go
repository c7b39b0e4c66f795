// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	unionrequest "k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// Config says where the credentials are. Every field is optional; with none of them every request outside of the
// anonymous paths is refused.
type Config struct {
	// TokenAuthFile is the value of --token-auth-file.
	TokenAuthFile string
	// ClientCAFile is the value of --client-ca-file.
	ClientCAFile string
	// AuthenticationConfigFile is the value of --authentication-config.
	AuthenticationConfigFile string
	// Admin knows the server's own admin token. It is asked first.
	Admin authenticator.Token
	// AnonymousPaths answer without credentials, with everything below them. Nil means DefaultAnonymousPaths.
	AnonymousPaths []string
	// ReloadInterval is how often the files are read. Zero means reload.DefaultInterval.
	ReloadInterval time.Duration
}

// Authenticator tells who sends a request.
type Authenticator struct {
	files       []*reload.File
	every       time.Duration
	clientCA    *ClientCA
	issuers     *issuers
	credentials authenticator.Request
	request     authenticator.Request
}

// New reads the files and fails on the first that is faulty. An issuer that cannot be reached is not a fault. The
// connections to issuers live as long as ctx: give it the life of the server.
func New(ctx context.Context, config Config) (*Authenticator, error) {
	registerMetrics()
	a := &Authenticator{every: config.ReloadInterval}
	if a.every <= 0 {
		a.every = reload.DefaultInterval
	}
	requests, strict := a.addFiles(config)
	for _, f := range a.files {
		if err := f.Load(ctx); err != nil {
			return nil, err
		}
	}
	paths := config.AnonymousPaths
	if paths == nil {
		paths = DefaultAnonymousPaths()
	}
	a.credentials = group.NewAuthenticatedGroupAdder(unionrequest.New(strict...))
	var err error
	if a.request, err = WithAnonymous(group.NewAuthenticatedGroupAdder(unionrequest.New(requests...)), paths); err != nil {
		return nil, err
	}
	return a, nil
}

// addFiles declares the files and returns what authenticates by them, in the order in which it is asked: for Request, and
// for Credentials, which looks at a JWT more often.
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
		a.addFile("token-auth-file", config.TokenAuthFile, reload.Credentials, table.apply)
		tokens = append(tokens, table)
	}
	strictTokens := tokens
	if config.AuthenticationConfigFile != "" {
		a.issuers = newIssuers()
		a.addFile("authentication-config", config.AuthenticationConfigFile, reload.Rights, a.issuers.apply)
		strictTokens = append(slices.Clone(tokens), a.issuers.strict())
		tokens = append(tokens, a.issuers)
	}
	strict = append(slices.Clone(requests), bearertoken.New(union.New(strictTokens...)))
	return append(requests, bearertoken.New(union.New(tokens...))), strict
}

func (a *Authenticator) addFile(flag, path string, holds reload.Content, apply func(context.Context, []byte) error) {
	trackReloads(flag)
	done := func(err error) { RecordReload(flag, err) }
	a.files = append(a.files, &reload.File{Flag: flag, Path: path, Holds: holds, Apply: apply, Done: done})
}

// Request authenticates by credentials, and without credentials on the anonymous paths.
func (a *Authenticator) Request() authenticator.Request { return a.request }

// Credentials authenticates by credentials only: for a listener on which nobody is anonymous. A JWT that was accepted is
// looked at again after half a second.
func (a *Authenticator) Credentials() authenticator.Request { return a.credentials }

// ClientCA is for the TLS configuration of each listener, so that clients are asked for a certificate. It is nil
// without --client-ca-file.
func (a *Authenticator) ClientCA() dynamiccertificates.CAContentProvider {
	if a.clientCA == nil {
		return nil
	}
	return a.clientCA
}

// FileFaults returns, by the flag of each file, what reports why the file as it is now is not in force.
func (a *Authenticator) FileFaults() map[string]func() error {
	faults := map[string]func() error{}
	for _, f := range a.files {
		faults[f.Flag] = f.Fault
	}
	return faults
}

// HealthCheck names the issuers that have not answered yet. It is no reason to stop serving.
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
		running.Go(func() { f.Run(ctx, a.every) })
	}
	running.Wait()
}
