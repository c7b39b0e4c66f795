// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// CheckConfiguration refuses an EncryptionConfiguration that is not sound, and one that upstream would take and that
// would store a value in clear, or none at all: one without our resource, or with the provider identity, as writer or
// as reader. Its errors hold no key.
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
	for _, provider := range providers {
		switch {
		case provider.Identity != nil:
			return fmt.Errorf("lists the provider identity for %s: nothing is ever stored in clear here, remove it", secret.GroupResource)
		case provider.AESCBC != nil:
			klog.Warning("The encryption provider aescbc has no integrity protection of its own; prefer aesgcm, secretbox or kms")
		}
	}
	return nil
}
