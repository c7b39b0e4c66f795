// SPDX-License-Identifier: Apache-2.0

package options

import (
	"sync/atomic"

	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/logging"
	"github.com/securevalue/secret-apiserver/pkg/tracing"
)

// Options is everything that flags can say.
type Options struct {
	Standalone     *StandaloneOptions
	Serving        *ServingOptions
	Storage        *StorageOptions
	Encryption     *EncryptionOptions
	Authentication *AuthenticationOptions
	Authorization  *AuthorizationOptions
	API            *APIOptions
	Audit          *AuditOptions
	Decrypt        *DecryptOptions
	Rewrap         *RewrapOptions
	Server         *ServerOptions
	Tracing        *tracing.Options
	Logs           *logs.Options

	Core                    *CoreOptions
	DelegatedAuthentication *DelegatedAuthenticationOptions
	DelegatedAuthorization  *DelegatedAuthorizationOptions

	flags   cliflag.NamedFlagSets // what Flags returned
	notices []notice

	noticesServed atomic.Bool
}

// NewOptions returns all defaults.
func NewOptions() *Options {
	return &Options{
		Standalone:     NewStandaloneOptions(),
		Serving:        NewServingOptions(),
		Storage:        NewStorageOptions(apiserver.NewStorageCodec()),
		Encryption:     NewEncryptionOptions(),
		Authentication: &AuthenticationOptions{},
		Authorization:  &AuthorizationOptions{},
		API:            NewAPIOptions(),
		Audit:          NewAuditOptions(),
		Decrypt:        NewDecryptOptions(),
		Rewrap:         NewRewrapOptions(),
		Server:         NewServerOptions(),
		Tracing:        &tracing.Options{},
		Logs:           logs.NewOptions(),

		Core:                    &CoreOptions{},
		DelegatedAuthentication: NewDelegatedAuthenticationOptions(),
		DelegatedAuthorization:  NewDelegatedAuthorizationOptions(),
	}
}

// Flags returns the flags, grouped as --help prints them.
func (o *Options) Flags() cliflag.NamedFlagSets {
	var fss cliflag.NamedFlagSets
	o.Standalone.AddFlags(fss.FlagSet(setStandalone))
	o.Serving.AddFlags(fss.FlagSet("serving"))
	o.Storage.AddFlags(fss.FlagSet("storage and encryption"))
	o.Encryption.AddFlags(fss.FlagSet("storage and encryption"))
	o.Authentication.AddFlags(fss.FlagSet(setAuthentication))
	o.Authorization.AddFlags(fss.FlagSet(setAuthorization))
	o.Core.AddFlags(fss.FlagSet(setCluster))
	o.DelegatedAuthentication.AddFlags(fss.FlagSet(setCluster))
	o.DelegatedAuthorization.AddFlags(fss.FlagSet(setCluster))
	o.API.AddFlags(fss.FlagSet("secure values"))
	o.Audit.AddFlags(fss.FlagSet("audit"))
	o.Decrypt.AddFlags(fss.FlagSet("decrypt"))
	o.Rewrap.AddFlags(fss.FlagSet(setRewrap))
	o.Server.AddFlags(fss.FlagSet("requests and shutdown"))
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

// Complete fills in what follows from other flags. It does no I/O.
func (o *Options) Complete() CompletedOptions {
	o.Standalone.complete()
	o.Server.complete(o.Standalone.Enabled)
	return CompletedOptions{&completedOptions{o}}
}

// Validate returns every fault, each naming its flag.
func (o CompletedOptions) Validate() []error {
	var errs []error
	errs = append(errs, o.validateMode()...)
	errs = append(errs, o.Standalone.validate()...)
	errs = append(errs, o.Serving.validate()...)
	errs = append(errs, o.Storage.validate()...)
	errs = append(errs, o.Encryption.validate()...)
	errs = append(errs, o.API.validate()...)
	errs = append(errs, o.Audit.validate()...)
	errs = append(errs, o.Decrypt.validate()...)
	errs = append(errs, o.DelegatedAuthentication.validate()...)
	errs = append(errs, o.DelegatedAuthorization.validate()...)
	errs = append(errs, o.Rewrap.Validate()...)
	return append(errs, o.Server.validate()...)
}
