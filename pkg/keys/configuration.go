// SPDX-License-Identifier: Apache-2.0

package keys

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

var (
	// errNotValid stands for the decoder's own text, which may quote the line it stopped at, and a line may hold a key.
	errNotValid    = errors.New("not a valid EncryptionConfiguration of apiserver.config.k8s.io/v1 (syntax, unknown or repeated field)")
	errNoProviders = errors.New("no providers for " + secret.Resource + "." + secret.GroupName + ": add an entry under resources")
)

// CheckConfiguration refuses an EncryptionConfiguration that is not sound; see Parse.
func CheckConfiguration(data []byte) error {
	_, err := Parse(data)
	return err
}

// Parse returns the keys of an EncryptionConfiguration. It refuses one that is not sound, and one that upstream would take
// and that would store a value in clear, or none at all: one without our resource, or with the provider identity, as writer
// or as reader. It also refuses two keys of one name under one provider, of which upstream would only ever use the first
// for reading, a write key whose name an envelope cannot hold, and KMS v1. Its errors hold no secret.
func Parse(data []byte) (*Configuration, error) {
	config, err := decodeConfiguration(data)
	if err != nil {
		return nil, errNotValid
	}
	// Upstream's validation replaces keys by "REDACTED".
	if err := validation.ValidateEncryptionConfiguration(config, false).ToAggregate(); err != nil {
		return nil, err
	}
	at := slices.IndexFunc(config.Resources, coversSecureValues)
	if at < 0 {
		return nil, errNoProviders
	}
	if slices.ContainsFunc(config.Resources[at+1:], namesSecureValues) {
		return nil, fmt.Errorf("an entry for %s comes after one that covers it already: remove one of them", secret.GroupResource)
	}
	if err := checkProviders(config.Resources[at].Providers); err != nil {
		return nil, err
	}
	c, err := newConfiguration(config.Resources[at].Providers)
	if err != nil {
		return nil, err
	}
	return c, checkNames(c.keys)
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
	}
	return nil
}

// checkNames refuses two keys of one name, and a write key whose name an envelope or a status.key cannot hold: everything
// after a colon would be lost, and two keys would be taken for one. A key that only opens may have such a name, or what an
// older version sealed under it could never be moved to another key.
func checkNames(keys []key) error {
	seen := sets.New[string]()
	for _, k := range keys {
		if seen.Has(k.String()) {
			return fmt.Errorf("names the key %s twice for %s: a stored value names its key, so give each key its own name", secret.ShowKey(k.String()), secret.GroupResource)
		}
		seen.Insert(k.String())
	}
	if first := keys[0]; !secret.IsKeyName(first.name) {
		return fmt.Errorf("the write key %q of provider %s has a name that a stored value cannot hold: use 1 to %d of the characters A-Z a-z 0-9 . _ -; "+
			"to keep a key of this name for values that are sealed under it, put a new key before it", first.name, first.provider, secret.MaxKeyName)
	}
	return nil
}
