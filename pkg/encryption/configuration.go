// SPDX-License-Identifier: Apache-2.0

package encryption

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// CheckConfiguration refuses an EncryptionConfiguration that is not sound, and one that upstream would take and that
// would store a value in clear, or none at all: one without our resource, or with the provider identity, as writer or
// as reader. It also refuses two keys of one name under one provider, of which upstream would only ever use the first
// for reading, and KMS v1. Its errors hold no key.
func CheckConfiguration(data []byte) error {
	config, err := decodeConfiguration(data)
	if err != nil {
		// The decoder's own text is left out: it may quote the line it stopped at, and a line may hold a key.
		return errors.New("not a valid EncryptionConfiguration of apiserver.config.k8s.io/v1 (syntax, unknown or repeated field)")
	}
	// Upstream's validation replaces keys by "REDACTED".
	if err := validation.ValidateEncryptionConfiguration(config, false).ToAggregate(); err != nil {
		return err
	}
	at := slices.IndexFunc(config.Resources, coversSecureValues)
	if at < 0 {
		return fmt.Errorf("no providers for %s: add an entry under resources", secret.GroupResource)
	}
	if slices.ContainsFunc(config.Resources[at+1:], namesSecureValues) {
		return fmt.Errorf("an entry for %s comes after one that covers it already: remove one of them", secret.GroupResource)
	}
	return checkProviders(config.Resources[at].Providers)
}

func decodeConfiguration(data []byte) (*apiserverconfig.EncryptionConfiguration, error) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	codecs := serializer.NewCodecFactory(scheme, serializer.EnableStrict)
	obj, err := runtime.Decode(codecs.UniversalDecoder(), data)
	if err != nil {
		return nil, err
	}
	config, ok := obj.(*apiserverconfig.EncryptionConfiguration)
	if !ok {
		return nil, errors.New("another kind")
	}
	return config, nil
}

// coversSecureValues follows upstream's wildcards (KEP-3299): "*.group" and "*.*".
func coversSecureValues(entry apiserverconfig.ResourceConfiguration) bool {
	return namesSecureValues(entry) || slices.Contains(entry.Resources, "*."+secret.GroupName) || slices.Contains(entry.Resources, "*.*")
}

func namesSecureValues(entry apiserverconfig.ResourceConfiguration) bool {
	return slices.Contains(entry.Resources, secret.GroupResource.String())
}

func checkProviders(providers []apiserverconfig.ProviderConfiguration) error {
	seen := sets.New[string]()
	for _, provider := range providers {
		if provider.Identity != nil {
			return fmt.Errorf("lists the provider identity for %s: nothing is ever stored in clear here, remove it", secret.GroupResource)
		}
		if provider.KMS != nil && provider.KMS.APIVersion != "v2" {
			return fmt.Errorf("kms provider %q has apiVersion %q: only v2 is served", provider.KMS.Name, provider.KMS.APIVersion)
		}
		if provider.AESCBC != nil {
			klog.Warning("The encryption provider aescbc has no integrity protection of its own; prefer aesgcm, secretbox or kms")
		}
		for _, name := range keyNames(provider) {
			if seen.Has(name) {
				return fmt.Errorf("names the key %s twice for %s: a stored value names its key, so give each one a name of its own", name, secret.GroupResource)
			}
			seen.Insert(name)
		}
	}
	return nil
}

// keyNames lists the keys of a provider as status.key names them, but for the hash of a KMS key.
func keyNames(provider apiserverconfig.ProviderConfiguration) []string {
	var names []string
	add := func(kind string, keys []apiserverconfig.Key) {
		for _, key := range keys {
			names = append(names, kind+"/"+key.Name)
		}
	}
	switch {
	case provider.AESGCM != nil:
		add("aesgcm", provider.AESGCM.Keys)
	case provider.AESCBC != nil:
		add("aescbc", provider.AESCBC.Keys)
	case provider.Secretbox != nil:
		add("secretbox", provider.Secretbox.Keys)
	case provider.KMS != nil:
		names = append(names, "kms/"+provider.KMS.Name)
	}
	return names
}

// KeyNames lists the keys that a configuration can open values with, as the beginning of status.key: a KMS provider
// stands for all keys of its plugin. It returns the error of CheckConfiguration.
func KeyNames(data []byte) ([]string, error) {
	if err := CheckConfiguration(data); err != nil {
		return nil, err
	}
	config, err := decodeConfiguration(data)
	if err != nil {
		return nil, err
	}
	var names []string
	at := slices.IndexFunc(config.Resources, coversSecureValues)
	for _, provider := range config.Resources[at].Providers {
		names = append(names, keyNames(provider)...)
	}
	return names, nil
}
