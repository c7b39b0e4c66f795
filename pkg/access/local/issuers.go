// SPDX-License-Identifier: Apache-2.0

package local

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	authenticationcel "k8s.io/apiserver/pkg/authentication/cel"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"
)

const (
	// jwtCacheTTL is how long an accepted JWT is accepted without verifying it again.
	jwtCacheTTL = 10 * time.Second
	// strictCacheTTL is the same for Credentials: the decrypt port must notice a revoked token within this time.
	strictCacheTTL = 500 * time.Millisecond
	// issuerGrace is how long a reload waits for new issuers to answer before it takes effect anyway.
	issuerGrace = 10 * time.Second
	// issuerDrain is how long replaced issuers live on for requests in flight.
	issuerDrain = time.Minute
)

// issuers authenticates JWTs by one generation of issuers at a time.
type issuers struct {
	decoder  runtime.Decoder
	compiler authenticationcel.Compiler
	grace    time.Duration
	current  atomic.Pointer[generation]
}

// generation is the issuers of one content of the file.
type generation struct {
	token  authenticator.Token
	strict authenticator.Token // the same with strictCacheTTL
	checks []func() error
	cancel context.CancelFunc
}

var _ authenticator.Token = &issuers{}

func newIssuers() *issuers {
	return &issuers{decoder: newConfigDecoder(), compiler: authenticationcel.NewDefaultCompiler(), grace: issuerGrace}
}

// AuthenticateToken implements authenticator.Token.
func (i *issuers) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	return i.current.Load().token.AuthenticateToken(ctx, token)
}

// strict is AuthenticateToken with strictCacheTTL.
func (i *issuers) strict() authenticator.Token {
	return authenticator.TokenFunc(func(ctx context.Context, token string) (*authenticator.Response, bool, error) {
		return i.current.Load().strict.AuthenticateToken(ctx, token)
	})
}

// health names the issuers that are not ready.
func (i *issuers) health() error { return i.current.Load().health() }

// apply puts a new set of issuers in force. The first set does not wait: an unreachable issuer must not keep the server
// down, and upstream retries it every ten seconds. A later set has some time, since it replaces issuers that work; then
// it takes effect anyway, or an issuer could not be removed while another one is down.
func (i *issuers) apply(ctx context.Context, data []byte) error {
	config, err := parseConfig(i.decoder, i.compiler, data)
	if err != nil {
		return err
	}
	next, err := newGeneration(ctx, i.compiler, config)
	if err != nil {
		return err
	}
	if i.current.Load() != nil {
		next.waitReady(ctx, i.grace)
	}
	if previous := i.current.Swap(next); previous != nil {
		time.AfterFunc(issuerDrain, previous.cancel)
	}
	return nil
}

// newGeneration builds one authenticator per issuer; ctx ends their background work.
func newGeneration(ctx context.Context, compiler authenticationcel.Compiler,
	config *apiserver.AuthenticationConfiguration) (*generation, error) {
	ctx, cancel := context.WithCancel(ctx)
	g := &generation{cancel: cancel}
	tokens := make([]authenticator.Token, 0, len(config.JWT))
	for n, jwt := range config.JWT {
		issuer, err := newIssuer(ctx, compiler, jwt)
		if err != nil {
			cancel()
			return nil, fmt.Errorf("jwt[%d]: %w", n, err)
		}
		tokens = append(tokens, issuer)
		g.checks = append(g.checks, issuer.HealthCheck)
	}
	// Separate caches: the tokens of a removed issuer end with it.
	g.token = cache.New(union.New(tokens...), false, jwtCacheTTL, 0)
	g.strict = cache.New(union.New(tokens...), false, strictCacheTTL, 0)
	return g, nil
}

func newIssuer(ctx context.Context, compiler authenticationcel.Compiler,
	jwt apiserver.JWTAuthenticator) (oidc.AuthenticatorTokenWithHealthCheck, error) {
	client, err := newIssuerClient(ctx, jwt.Issuer.CertificateAuthority)
	if err != nil {
		return nil, err
	}
	return oidc.New(ctx, oidc.Options{
		JWTAuthenticator:     jwt,
		Client:               client,
		Compiler:             compiler,
		SupportedSigningAlgs: oidc.AllValidSigningAlgorithms(),
	})
}

// newIssuerClient is upstream's client, with connections that are closed when ctx ends.
func newIssuerClient(ctx context.Context, authority string) (*http.Client, error) {
	roots := &tls.Config{MinVersion: tls.VersionTLS12}
	if authority != "" {
		pool, err := certutil.NewPoolFromBytes([]byte(authority))
		if err != nil {
			return nil, fmt.Errorf("issuer.certificateAuthority: %w", err)
		}
		roots.RootCAs = pool
	}
	transport := utilnet.SetTransportDefaults(&http.Transport{TLSClientConfig: roots})
	context.AfterFunc(ctx, transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}, nil
}

func (g *generation) health() error {
	var errs []error
	for _, check := range g.checks {
		if err := check(); err != nil {
			errs = append(errs, err)
		}
	}
	return utilerrors.NewAggregate(errs)
}

func (g *generation) waitReady(ctx context.Context, grace time.Duration) {
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, grace, true, func(context.Context) (bool, error) {
		return g.health() == nil, nil
	})
	if err != nil {
		klog.ErrorS(g.health(), "Issuers of the new authentication configuration are not ready; their tokens are "+
			"refused")
	}
}

// newConfigDecoder returns a strict decoder of apiserver.config.k8s.io: unknown and repeated fields are errors.
func newConfigDecoder() runtime.Decoder {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDecoder()
}

// parseConfig reads an AuthenticationConfiguration, defaulted and validated as the Kubernetes API server does.
func parseConfig(decoder runtime.Decoder, compiler authenticationcel.Compiler,
	data []byte) (*apiserver.AuthenticationConfiguration, error) {
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("is empty, expected an AuthenticationConfiguration of apiserver.config.k8s.io/v1")
	}
	obj, err := runtime.Decode(decoder, data)
	if err != nil {
		return nil, fmt.Errorf("decoding: %w", err)
	}
	config, ok := obj.(*apiserver.AuthenticationConfiguration)
	if !ok {
		return nil, fmt.Errorf("contains a %T, expected an AuthenticationConfiguration", obj)
	}
	errs := validation.ValidateAuthenticationConfiguration(compiler, config, nil)
	return config, append(errs, unsupported(config)...).ToAggregate()
}

// unsupported returns the fields that this server would otherwise silently ignore.
func unsupported(config *apiserver.AuthenticationConfiguration) field.ErrorList {
	var errs field.ErrorList
	if config.Anonymous != nil {
		errs = append(errs, field.Forbidden(field.NewPath("anonymous"),
			"anonymous requests are for the health paths only; remove this field"))
	}
	for i, jwt := range config.JWT {
		if jwt.Issuer.EgressSelectorType != "" {
			path := field.NewPath("jwt").Index(i).Child("issuer", "egressSelectorType")
			errs = append(errs, field.Forbidden(path, "this server has no egress selector; remove this field"))
		}
	}
	return errs
}
