// SPDX-License-Identifier: Apache-2.0

package options

import (
	"context"

	"github.com/spf13/pflag"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/securevalue/secret-apiserver/pkg/access/local"
)

// AuthenticationOptions say by what a standalone server knows its callers.
type AuthenticationOptions struct {
	// TokenAuthFile is --token-auth-file.
	TokenAuthFile string
	// ClientCAFile is --client-ca-file.
	ClientCAFile string
	// ConfigFile is --authentication-config.
	ConfigFile string
}

// AddFlags adds the flags of this concern.
func (o *AuthenticationOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.TokenAuthFile, "token-auth-file", o.TokenAuthFile,
		`CSV file of bearer tokens: token,user,uid,"group1,group2". Reloaded when it changes.`)
	fs.StringVar(&o.ClientCAFile, "client-ca-file", o.ClientCAFile,
		"CA bundle for client certificates: CN is the user, O are the groups. Reloaded when it changes.")
	fs.StringVar(&o.ConfigFile, "authentication-config", o.ConfigFile,
		"AuthenticationConfiguration (apiserver.config.k8s.io) that names OIDC/JWT issuers. Reloaded when it changes.")
}

// load reads the files and starts to ask the issuers, until ctx ends. admin knows the server's own token.
func (o *AuthenticationOptions) load(ctx context.Context, admin authenticator.Token) (*local.Authenticator, error) {
	return local.New(ctx, local.Config{
		TokenAuthFile:            o.TokenAuthFile,
		ClientCAFile:             o.ClientCAFile,
		AuthenticationConfigFile: o.ConfigFile,
		Admin:                    admin,
	})
}

// Callers tells who sends a request, in either mode. It is *authentication.Authenticator or *delegated.Authenticator.
type Callers interface {
	// Request is for the API port.
	Request() authenticator.Request
	// Credentials is for a listener on which nobody is anonymous.
	Credentials() authenticator.Request
	// ClientCA is for the TLS configuration of the API port; it may be nil.
	ClientCA() dynamiccertificates.CAContentProvider
	// Run follows what it rests on until ctx ends.
	Run(ctx context.Context)
}

// applyAuthentication is called after the serving options, whose TLS configuration has to ask for client certificates.
func applyAuthentication(authn Callers, config *genericapiserver.Config) error {
	config.Authentication.Authenticator = authn.Request()
	if ca := authn.ClientCA(); ca != nil {
		if err := config.Authentication.ApplyClientCert(ca, config.SecureServing); err != nil {
			return err
		}
	}
	return config.AddPostStartHook("reload-credentials", func(hook genericapiserver.PostStartHookContext) error {
		go authn.Run(hook)
		return nil
	})
}
