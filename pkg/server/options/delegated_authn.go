// SPDX-License-Identifier: Apache-2.0

package options

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/pflag"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/kubernetes"

	"github.com/securevalue/secret-apiserver/pkg/access/cluster"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// decryptCacheTTL is how long the decrypt port keeps who a token belongs to.
const decryptCacheTTL = 500 * time.Millisecond

// DelegatedAuthenticationOptions say by what a server in a cluster knows its callers.
type DelegatedAuthenticationOptions struct {
	// TokenCacheTTL is --authentication-token-webhook-cache-ttl.
	TokenCacheTTL time.Duration
	// ServiceCAFile is --decrypt-client-ca-file.
	ServiceCAFile string
	// DecryptOpaqueTokens is --decrypt-opaque-tokens.
	DecryptOpaqueTokens bool
}

// NewDelegatedAuthenticationOptions returns upstream's default.
func NewDelegatedAuthenticationOptions() *DelegatedAuthenticationOptions {
	return &DelegatedAuthenticationOptions{TokenCacheTTL: 10 * time.Second}
}

// AddFlags adds the flags of this concern.
func (o *DelegatedAuthenticationOptions) AddFlags(fs *pflag.FlagSet) {
	fs.DurationVar(&o.TokenCacheTTL, "authentication-token-webhook-cache-ttl", o.TokenCacheTTL,
		"How long the answer of a TokenReview is kept. A revoked token that is sent to this server directly works for at most that long.")
	fs.StringVar(&o.ServiceCAFile, "decrypt-client-ca-file", o.ServiceCAFile,
		"CA bundle for client certificates of services on the decrypt port: CN is the user, O are the groups. "+
			"The cluster's own client CA is refused. Without it the decrypt port accepts only tokens. Reloaded when it changes.")
	fs.BoolVar(&o.DecryptOpaqueTokens, "decrypt-opaque-tokens", o.DecryptOpaqueTokens,
		"Review tokens on the decrypt port that are not JWTs with the audience "+secret.GroupName+
			". Needed only if a webhook authenticator of the cluster issues tokens for that audience.")
}

func (o *DelegatedAuthenticationOptions) validate() []error {
	if o.TokenCacheTTL < 0 {
		return []error{errors.New("--authentication-token-webhook-cache-ttl must not be negative")}
	}
	return nil
}

// load reads the ConfigMap of kube-apiserver, and waits a while for an answer.
func (o *DelegatedAuthenticationOptions) load(ctx context.Context, client kubernetes.Interface) (*cluster.Authenticator, error) {
	return cluster.NewAuthenticator(ctx, cluster.AuthenticationConfig{
		Client:           client,
		TokenCacheTTL:    o.TokenCacheTTL,
		Audience:         secret.GroupName,
		AudienceCacheTTL: decryptCacheTTL,
		ServiceCAFile:    o.ServiceCAFile,
		OpaqueTokens:     o.DecryptOpaqueTokens,
	})
}

// applyDelegatedAuthentication is called after the serving options, as applyAuthentication is.
func applyDelegatedAuthentication(authn *cluster.Authenticator, config *genericapiserver.Config) error {
	if err := config.Authentication.ApplyClientCert(authn.ProxyCA(), config.SecureServing); err != nil {
		return err
	}
	config.Authentication.RequestHeaderConfig = authn.Headers()
	return applyAuthentication(authn, config)
}
