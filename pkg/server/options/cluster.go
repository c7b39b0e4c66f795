// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"time"

	"github.com/spf13/pflag"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// ClusterOptions configure a server behind a kube-apiserver.
type ClusterOptions struct {
	// Kubeconfig is --kubeconfig; "" uses the Pod's ServiceAccount.
	Kubeconfig string
	// AuthenticationKubeconfig is --authentication-kubeconfig; "" means Kubeconfig.
	AuthenticationKubeconfig string
	// AuthorizationKubeconfig is --authorization-kubeconfig; "" means Kubeconfig.
	AuthorizationKubeconfig string

	// TokenCacheTTL is --authentication-token-webhook-cache-ttl.
	TokenCacheTTL time.Duration
	// ServiceCAFile is --decrypt-client-ca-file.
	ServiceCAFile string
	// DecryptOpaqueTokens is --decrypt-opaque-tokens.
	DecryptOpaqueTokens bool
	// AllowTTL is --authorization-webhook-cache-authorized-ttl, DenyTTL is
	// --authorization-webhook-cache-unauthorized-ttl.
	AllowTTL, DenyTTL time.Duration
}

// newClusterOptions uses upstream's default of every cache.
func newClusterOptions() *ClusterOptions {
	const ttl = 10 * time.Second
	return &ClusterOptions{TokenCacheTTL: ttl, AllowTTL: ttl, DenyTTL: ttl}
}

func (o *ClusterOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig,
		"Kubeconfig of the cluster's kube-apiserver, for namespaces, quotas, flow schemas and priority levels. "+
			"Defaults to the Pod's ServiceAccount.")
	fs.StringVar(&o.AuthenticationKubeconfig, "authentication-kubeconfig", o.AuthenticationKubeconfig,
		"Kubeconfig for TokenReview and the ConfigMap kube-system/extension-apiserver-authentication. Defaults to "+
			"--kubeconfig.")
	fs.StringVar(&o.AuthorizationKubeconfig, "authorization-kubeconfig", o.AuthorizationKubeconfig,
		"Kubeconfig for SubjectAccessReview. Defaults to --kubeconfig.")
	fs.DurationVar(&o.TokenCacheTTL, "authentication-token-webhook-cache-ttl", o.TokenCacheTTL,
		"How long TokenReview responses are cached. A revoked token that is sent directly to this server stays valid "+
			"for at most this long.")
	fs.StringVar(&o.ServiceCAFile, "decrypt-client-ca-file", o.ServiceCAFile,
		"CA bundle used to verify client certificates of services on the decrypt port: CN is the user, O are the "+
			"groups. "+
			"The cluster's own client CA is refused. Without it the decrypt port accepts only tokens. Reloaded "+
			"when it changes.")
	fs.BoolVar(&o.DecryptOpaqueTokens, "decrypt-opaque-tokens", o.DecryptOpaqueTokens,
		"Send tokens on the decrypt port to TokenReview that are not JWTs with the audience "+secret.GroupName+
			". Needed only if a webhook authenticator of the cluster issues tokens for that audience.")
	fs.DurationVar(&o.AllowTTL, "authorization-webhook-cache-authorized-ttl", o.AllowTTL,
		"How long allowed authorization decisions are cached. A revoked permission stays effective for at most this "+
			"long.")
	fs.DurationVar(&o.DenyTTL, "authorization-webhook-cache-unauthorized-ttl", o.DenyTTL,
		"How long denied authorization decisions are cached. A granted permission takes effect after at most this "+
			"long.")
}

func (o *ClusterOptions) validate() []error {
	var errs []error
	if o.TokenCacheTTL < 0 {
		errs = append(errs, errors.New("--authentication-token-webhook-cache-ttl must not be negative"))
	}
	if o.AllowTTL < 0 || o.DenyTTL < 0 {
		errs = append(errs, errors.New("--authorization-webhook-cache-authorized-ttl and "+
			"--authorization-webhook-cache-unauthorized-ttl must not be negative"))
	}
	return errs
}
