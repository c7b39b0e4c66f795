// SPDX-License-Identifier: Apache-2.0

package options

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/reload"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// EncryptionOptions say which keys seal values.
type EncryptionOptions struct {
	// ConfigFile is --encryption-provider-config.
	ConfigFile string
	// AutomaticReload is --encryption-provider-config-automatic-reload.
	AutomaticReload bool
	// KMSStartupGrace is --kms-startup-grace.
	KMSStartupGrace time.Duration

	provider *keys.Provider // of a server that runs
}

// NewEncryptionOptions returns the defaults.
func NewEncryptionOptions() *EncryptionOptions {
	return &EncryptionOptions{KMSStartupGrace: 10 * time.Minute}
}

// AddFlags adds the flags of this concern. They have the names of kube-apiserver.
func (o *EncryptionOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.ConfigFile, keys.Flag, o.ConfigFile,
		"EncryptionConfiguration that holds the keys for securevalues.secret.grafana.app. Without it a standalone server generates one in --data-dir; in a cluster it is required.")
	fs.BoolVar(&o.AutomaticReload, keys.Flag+"-automatic-reload", o.AutomaticReload,
		"Reload --encryption-provider-config when it changes; a broken edit keeps the last good one. Always on for a generated one.")
	fs.DurationVar(&o.KMSStartupGrace, "kms-startup-grace", o.KMSStartupGrace,
		"How long a server that has not reached its KMS since its start stays unready. Make it longer than progressDeadlineSeconds of its Deployment. 0 does not wait.")
}

func (o *EncryptionOptions) validate() []error {
	if o.KMSStartupGrace < 0 {
		return []error{errors.New("--kms-startup-grace must not be negative")}
	}
	if o.ConfigFile == "" && o.AutomaticReload {
		return []error{errors.New("--encryption-provider-config-automatic-reload needs --encryption-provider-config")}
	}
	return nil
}

// HasFile reports whether the operator brings the encryption configuration.
func (o *EncryptionOptions) HasFile() bool { return o.ConfigFile != "" }

// UseFile sets the encryption configuration of a server that was given none. It is reloaded when it changes.
func (o *EncryptionOptions) UseFile(file string) {
	o.ConfigFile, o.AutomaticReload = file, true
}

// check reads the file before anything is touched. A generated one is checked where it is generated.
func (o *EncryptionOptions) check() error {
	if !o.HasFile() {
		return nil
	}
	data, err := reload.ReadFile(o.ConfigFile, reload.Credentials)
	if err != nil {
		return fmt.Errorf("reading --encryption-provider-config: %w", err)
	}
	defer clear(data)
	if err := keys.CheckConfiguration(data); err != nil {
		return fmt.Errorf("--encryption-provider-config %s: %w", o.ConfigFile, err)
	}
	return nil
}

// applyEncryption loads the keys, keeps them in line with the file while the server runs, and returns what seals with them.
func (o *Options) applyEncryption(config *genericapiserver.Config) (*sealed.Sealer, error) {
	provider, err := keys.New(wait.ContextForChannel(config.DrainedNotify()), keys.Config{
		File: o.Encryption.ConfigFile, Reload: o.Encryption.AutomaticReload, APIServerID: config.APIServerID,
	})
	if err != nil {
		return nil, err
	}
	o.Encryption.provider = provider
	sealer := sealed.NewSealer(provider.Transformer(), provider) //nolint:forbidigo // the one place that gives store and decrypt port their keys
	config.ReadyzChecks = append(config.ReadyzChecks, provider.StartupCheck(o.Encryption.KMSStartupGrace))
	o.addFault("encryption-config", refused, provider.FileFault)
	o.addFault("kms-providers", "a KMS plugin is unavailable, values cannot be sealed or opened for long: see the log", provider.KMSFault)
	o.addFault("encryption-keys", "values are stored under keys that the file lacks: see the log", provider.MissingFault)
	return sealer, config.AddPostStartHook("watch-encryption-keys", func(genericapiserver.PostStartHookContext) error {
		// Until the last request is served, which is later than the end of the hook's context.
		go provider.Run(wait.ContextForChannel(config.DrainedNotify()), sealer.WriteKey)
		return nil
	})
}

// CompareKeys opens one stored value of each local key and fails when a secret is not the one that values under its name were
// sealed with: what such a server seals could never be opened together with what is stored. It returns an error when etcd
// does not answer, and asks no KMS. Call it after Config.
func (o CompletedOptions) CompareKeys(ctx context.Context) error {
	client, err := o.Storage.client()
	if err != nil {
		return err
	}
	err = o.Encryption.provider.UseStored(ctx, sealed.NewScanner(client, apiserver.NewStorageCodec(), o.Storage.upstream.StorageConfig.Prefix))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from --etcd-servers %s: %w", o.Storage.ServerNames(), err)
	case err != nil:
		return fmt.Errorf("--%s %s: %w", keys.Flag, o.Encryption.ConfigFile, err)
	}
	return nil
}
