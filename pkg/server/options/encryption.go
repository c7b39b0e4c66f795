// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// checkEncryption refuses an EncryptionConfiguration that upstream would take and that would store a value in clear,
// or no value at all: one without our resource, or with the provider identity, as writer or as reader.
func checkEncryption(file string) error {
	data, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return err
	}
	config, err := decodeEncryption(data)
	if err != nil {
		// The decoder may quote the line it stopped at, and a line may hold a key.
		return fmt.Errorf("%s is no valid EncryptionConfiguration of apiserver.config.k8s.io/v1: check its YAML and field names", file)
	}
	for _, resource := range config.Resources {
		if !coversSecureValues(resource.Resources) {
			continue
		}
		return checkProviders(file, resource.Providers)
	}
	return fmt.Errorf("%s names no providers for %s: add an entry under resources", file, secret.GroupResource)
}

func decodeEncryption(data []byte) (*apiserverconfig.EncryptionConfiguration, error) {
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
func coversSecureValues(resources []string) bool {
	for _, r := range resources {
		switch strings.TrimSpace(r) {
		case secret.GroupResource.String(), "*." + secret.GroupName, "*.*":
			return true
		}
	}
	return false
}

func checkProviders(file string, providers []apiserverconfig.ProviderConfiguration) error {
	for _, provider := range providers {
		switch {
		case provider.Identity != nil:
			return fmt.Errorf("%s lists the provider identity for %s: nothing is ever stored in clear here, remove it", file, secret.GroupResource)
		case provider.AESCBC != nil:
			klog.Warningf("%s: the provider aescbc has no integrity protection of its own; prefer aesgcm, secretbox or kms", file)
		}
	}
	return nil
}
