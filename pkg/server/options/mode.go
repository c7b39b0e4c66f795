// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
)

// The flag sets that mean something in one of the two modes only.
const (
	setStandalone     = "standalone"
	setAuthentication = "standalone authentication"
	setAuthorization  = "standalone authorization"
	setRewrap         = "standalone rewrap"
	setCluster        = "cluster"
)

// validateMode refuses flags of the other mode, rather than ignoring what somebody relies on, and asks for what a
// standalone server would make for itself.
func (o *Options) validateMode() []error {
	if o.Standalone.Enabled {
		if o.Serving.HasCertificate() && len(o.Standalone.SANs) > 0 {
			return []error{errors.New("--tls-san is for the certificate that a standalone server issues: leave it out, or --tls-cert-file")}
		}
		return o.misplaced("is for a server in a cluster: leave it out, or --standalone", setCluster)
	}
	errs := o.misplaced("needs --standalone", setStandalone, setAuthentication, setAuthorization, setRewrap)
	if !o.Storage.HasServers() {
		errs = append(errs, errors.New("--etcd-servers is required in a cluster; to run without one, use --standalone"))
	}
	if !o.Encryption.HasFile() {
		errs = append(errs, errors.New("--encryption-provider-config is required in a cluster"))
	}
	if !o.Serving.HasCertificate() {
		errs = append(errs, errors.New("--tls-cert-file and --tls-private-key-file are required in a cluster"))
	}
	if o.Decrypt.enabled() && o.Decrypt.Audit.LogPath == "" && o.Decrypt.Audit.KeyFile == "" {
		errs = append(errs, errors.New("--decrypt-audit-log-path and --decrypt-audit-key-file are required in a cluster; to run without the decrypt service, use --decrypt-port=0"))
	}
	return append(errs, o.Server.validateShares()...)
}

// misplaced returns an error for each flag of the sets that was given.
func (o *Options) misplaced(why string, sets ...string) []error {
	var errs []error
	for _, set := range sets {
		if o.flags.FlagSets[set] == nil {
			continue // options that no command line filled
		}
		o.flags.FlagSets[set].VisitAll(func(flag *pflag.Flag) {
			if flag.Changed && flag.Name != setStandalone {
				errs = append(errs, fmt.Errorf("--%s %s", flag.Name, why))
			}
		})
	}
	return errs
}
