// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"

	"github.com/securevalue/secret-apiserver/pkg/logging"
	"github.com/securevalue/secret-apiserver/pkg/tracing"
)

// The flag sets that are valid in one of the two modes only.
const (
	setStandalone     = "standalone"
	setAuthentication = "standalone authentication"
	setAuthorization  = "standalone authorization"
	setRewrap         = "standalone rewrap"
	setCluster        = "cluster"
)

// Options holds the flags, one struct for each concern.
type Options struct {
	Standalone *StandaloneOptions
	Serving    *ServingOptions
	Storage    *StorageOptions
	Encryption *EncryptionOptions
	Cluster    *ClusterOptions
	Audit      *AuditOptions
	Decrypt    *DecryptOptions
	Requests   *RequestOptions
	Tracing    *tracing.Options
	Logs       *logs.Options

	flags cliflag.NamedFlagSets // result of Flags
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	return &Options{
		Standalone: newStandaloneOptions(),
		Serving:    newServingOptions(),
		Storage:    newStorageOptions(),
		Encryption: newEncryptionOptions(),
		Cluster:    newClusterOptions(),
		Audit:      newAuditOptions(),
		Decrypt:    newDecryptOptions(),
		Requests:   newRequestOptions(),
		Tracing:    &tracing.Options{},
		Logs:       logs.NewOptions(),
	}
}

// Flags returns the flags, grouped and ordered as --help prints them.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var fss cliflag.NamedFlagSets
	o.Standalone.addFlags(fss.FlagSet(setStandalone))
	o.Serving.addFlags(fss.FlagSet("serving"))
	o.Storage.addFlags(fss.FlagSet("storage and encryption"))
	o.Encryption.addFlags(fss.FlagSet("storage and encryption"))
	o.Standalone.addAuthenticationFlags(fss.FlagSet(setAuthentication))
	o.Standalone.addAuthorizationFlags(fss.FlagSet(setAuthorization))
	o.Cluster.addFlags(fss.FlagSet(setCluster))
	o.Decrypt.addAPIFlags(fss.FlagSet("secure values"))
	o.Audit.addFlags(fss.FlagSet("audit"))
	o.Decrypt.addFlags(fss.FlagSet("decrypt"))
	o.Standalone.addRewrapFlags(fss.FlagSet(setRewrap))
	o.Requests.addFlags(fss.FlagSet("requests and shutdown"))
	o.Tracing.AddFlags(fss.FlagSet("traces"))
	logging.AddFlags(o.Logs, fss.FlagSet("logs"))
	o.flags = fss
	return fss
}

type completedOptions struct {
	*Options
}

// CompletedOptions can only come from Complete, so that no step is skipped.
type CompletedOptions struct {
	*completedOptions
}

// Complete sets defaults that depend on other flags.
func (o *Options) Complete() CompletedOptions {
	o.Standalone.complete()
	o.Requests.complete(o.Standalone.Enabled)
	return CompletedOptions{&completedOptions{o}}
}

// Validate returns all errors. Each names its flag.
func (o CompletedOptions) Validate() []error {
	errs := o.validateMode()
	errs = append(errs, o.Standalone.validate()...)
	errs = append(errs, o.Serving.validate()...)
	errs = append(errs, o.Storage.validate()...)
	errs = append(errs, o.Encryption.validate()...)
	errs = append(errs, o.Decrypt.validateAPI()...)
	errs = append(errs, o.Audit.validate()...)
	errs = append(errs, o.Decrypt.validate()...)
	errs = append(errs, o.Cluster.validate()...)
	errs = append(errs, o.Standalone.Rewrap.Validate()...)
	return append(errs, o.Requests.Validate()...)
}

// validateMode refuses flags of the other mode, on which somebody may rely, and requires in a cluster what a standalone
// server generates.
func (o *Options) validateMode() []error {
	if o.Standalone.Enabled {
		if o.Serving.HasCertificate() && len(o.Standalone.SANs) > 0 {
			return []error{errors.New("--tls-san is for the certificate that a standalone server issues: " +
				"leave it out, or --tls-cert-file")}
		}
		return o.refuse("is for a server in a cluster: leave it out, or --standalone", setCluster)
	}
	errs := o.refuse("needs --standalone", setStandalone, setAuthentication, setAuthorization, setRewrap)
	if !o.Storage.HasServers() {
		errs = append(errs, errors.New("--etcd-servers is required in a cluster; to run without one, use --standalone"))
	}
	if o.Encryption.ConfigFile == "" {
		errs = append(errs, errors.New("--encryption-provider-config is required in a cluster"))
	}
	if !o.Serving.HasCertificate() {
		errs = append(errs, errors.New("--tls-cert-file and --tls-private-key-file are required in a cluster"))
	}
	if o.Decrypt.Enabled() && o.Decrypt.Audit.LogPath == "" && o.Decrypt.Audit.KeyFile == "" {
		errs = append(errs, errors.New("--decrypt-audit-log-path and --decrypt-audit-key-file are required in a "+
			"cluster; to run without the decrypt service, use --decrypt-port=0"))
	}
	return append(errs, o.Requests.validateShares()...)
}

// refuse returns an error for each flag of the sets that was given.
func (o *Options) refuse(why string, sets ...string) []error {
	var errs []error
	for _, set := range sets {
		if o.flags.FlagSets[set] == nil {
			continue // Flags was not called
		}
		o.flags.FlagSets[set].VisitAll(func(flag *pflag.Flag) {
			if flag.Changed && flag.Name != setStandalone {
				errs = append(errs, fmt.Errorf("--%s %s", flag.Name, why))
			}
		})
	}
	return errs
}

// pick adds the named flags of those that add adds, with another usage where one is given. It panics when upstream has
// removed a flag, which the first start of a new version shows.
func pick(fs *pflag.FlagSet, add func(*pflag.FlagSet), usage map[string]string, names ...string) {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	add(all)
	for name := range usage {
		if !slices.Contains(names, name) {
			panic("usage of a flag that is not picked: --" + name)
		}
	}
	for _, name := range names {
		flag := all.Lookup(name)
		if flag == nil {
			panic("upstream has no flag --" + name)
		}
		if text, ok := usage[name]; ok {
			flag.Usage = text
		}
		fs.AddFlag(flag)
	}
}
