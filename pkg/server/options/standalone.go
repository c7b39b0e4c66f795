// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"path/filepath"

	"github.com/spf13/pflag"

	"github.com/securevalue/secret-apiserver/pkg/controller/rewrap"
)

// StandaloneOptions configure a server that runs without a cluster.
type StandaloneOptions struct {
	// Enabled is --standalone.
	Enabled bool
	// DataDir is --data-dir.
	DataDir string
	// SANs is --tls-san.
	SANs []string

	// TokenAuthFile is --token-auth-file.
	TokenAuthFile string
	// ClientCAFile is --client-ca-file.
	ClientCAFile string
	// AuthenticationConfigFile is --authentication-config.
	AuthenticationConfigFile string
	// RBACDir is --rbac-dir.
	RBACDir string

	// RunRewrap is --rewrap. In a cluster secret-controller-manager does it.
	RunRewrap bool
	Rewrap    rewrap.Options
}

func newStandaloneOptions() *StandaloneOptions {
	return &StandaloneOptions{DataDir: "./data", RunRewrap: true, Rewrap: rewrap.NewOptions()}
}

func (o *StandaloneOptions) addFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.Enabled, "standalone", o.Enabled,
		"Run without a cluster: embedded etcd, generated CA, keys and admin token, all in --data-dir, and RBAC "+
			"from --rbac-dir. On a terminal only warnings and errors are logged, unless -v or --vmodule is given.")
	fs.StringVar(&o.DataDir, "data-dir", o.DataDir,
		"Folder with all data of a standalone server, created with mode 0700. "+
			"Back it up with secret-apiserver backup, and its encryption.yaml separately.")
	fs.StringSliceVar(&o.SANs, "tls-san", o.SANs,
		"Additional DNS name or IP address for the serving certificate that a standalone server issues. May be "+
			"repeated. "+
			"The host name and --bind-address are always included, and all addresses of the host with 0.0.0.0 or ::.")
}

func (o *StandaloneOptions) addAuthenticationFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.TokenAuthFile, "token-auth-file", o.TokenAuthFile,
		`CSV file with bearer tokens: token,user,uid,"group1,group2". Reloaded when it changes. (default tokens.csv `+
			"in --data-dir)")
	fs.StringVar(&o.ClientCAFile, "client-ca-file", o.ClientCAFile,
		"CA bundle used to verify client certificates: CN is the user, O are the groups. Reloaded when it changes.")
	fs.StringVar(&o.AuthenticationConfigFile, "authentication-config", o.AuthenticationConfigFile,
		"File with an AuthenticationConfiguration (apiserver.config.k8s.io) for OIDC/JWT issuers. Reloaded when it "+
			"changes.")
}

func (o *StandaloneOptions) addAuthorizationFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.RBACDir, "rbac-dir", o.RBACDir,
		"Folder with Role, ClusterRole, RoleBinding and ClusterRoleBinding manifests. Reloaded when it changes; "+
			"an invalid change keeps the last valid set. Without any only the group system:masters has permissions. "+
			"(default rbac in --data-dir)")
}

func (o *StandaloneOptions) addRewrapFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.RunRewrap, "rewrap", o.RunRewrap,
		"After a key rotation: re-encrypt stored values with the new key, in the background, until none uses an old "+
			"key.")
	o.Rewrap.AddFlags(fs)
}

func (o *StandaloneOptions) complete() {
	if o.DataDir != "" {
		o.DataDir = filepath.Clean(o.DataDir)
	}
}

func (o *StandaloneOptions) validate() []error {
	if o.Enabled && o.DataDir == "" {
		return []error{errors.New("--data-dir must not be empty")}
	}
	return nil
}
