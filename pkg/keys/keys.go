// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"cmp"
	"crypto/aes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"

	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

const providerKMS = "kms"

// Configuration is what an EncryptionConfiguration says of the keys for secure values, in its order: the first one seals.
type Configuration struct {
	keys  []key
	names []string
}

// key is one key of the file; a KMS provider stands for all keys of its plugin.
type key struct {
	provider, name string
	// digest tells two secrets of one name apart, and alone uses this key and no other. A KMS has neither. A digest stays in
	// memory: where people see it, it would confirm a guess of a secret that is not random.
	digest [sha256.Size]byte
	alone  value.Transformer
}

// String is the name of the key as status.key has it, but for the hash of a KMS key.
func (k key) String() string { return k.provider + "/" + k.name }

// newConfiguration lists the keys of providers that upstream's validation has passed.
func newConfiguration(providers []apiserverconfig.ProviderConfiguration) (*Configuration, error) {
	c := &Configuration{names: keyNames(providers)}
	for _, provider := range providers {
		if provider.KMS != nil {
			c.keys = append(c.keys, key{provider: providerKMS, name: provider.KMS.Name})
		}
		for kind, local := range localKeys(provider) {
			for _, one := range local {
				k, err := newKey(kind, one)
				if err != nil {
					return nil, err
				}
				c.keys = append(c.keys, k)
			}
		}
	}
	return c, nil
}

// KeyNames lists the keys that a file names for secure values, as the beginning of status.key and the longest first. It takes
// a file that Parse refuses, as long as it can be read: names are all that it is about.
func KeyNames(data []byte) ([]string, error) {
	config, err := decodeConfiguration(data)
	if err != nil {
		return nil, errNotValid
	}
	at := slices.IndexFunc(config.Resources, coversSecureValues)
	if at < 0 {
		return nil, errNoProviders
	}
	return keyNames(config.Resources[at].Providers), nil
}

func keyNames(providers []apiserverconfig.ProviderConfiguration) []string {
	var names []string
	for _, provider := range providers {
		if provider.KMS != nil {
			names = append(names, providerKMS+"/"+provider.KMS.Name)
		}
		for kind, local := range localKeys(provider) {
			for _, one := range local {
				names = append(names, kind+"/"+one.Name)
			}
		}
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return names
}

// localKeys returns the keys of a provider that has any, by its name in an envelope. A provider has one entry at most.
func localKeys(provider apiserverconfig.ProviderConfiguration) map[string][]apiserverconfig.Key {
	switch {
	case provider.AESGCM != nil:
		return map[string][]apiserverconfig.Key{"aesgcm": provider.AESGCM.Keys}
	case provider.AESCBC != nil:
		return map[string][]apiserverconfig.Key{"aescbc": provider.AESCBC.Keys}
	case provider.Secretbox != nil:
		return map[string][]apiserverconfig.Key{"secretbox": provider.Secretbox.Keys}
	}
	return nil
}

func newKey(provider string, config apiserverconfig.Key) (key, error) {
	raw, err := base64.StdEncoding.DecodeString(config.Secret)
	if err != nil {
		return key{}, errors.New("a secret is not base64") // validated before
	}
	defer clear(raw)
	k := key{provider: provider, name: config.Name, digest: sha256.Sum256(raw)}
	cipher, err := newCipher(provider, raw)
	if err != nil {
		return key{}, fmt.Errorf("key %s: %w", secret.ShowKey(k.String()), err)
	}
	k.alone = value.NewPrefixTransformers(nil, value.PrefixTransformer{Prefix: []byte("k8s:enc:" + provider + ":v1:" + k.name + ":"), Transformer: cipher})
	return k, nil
}

// newCipher returns upstream's cipher of a provider.
func newCipher(provider string, raw []byte) (value.Transformer, error) {
	if provider == "secretbox" {
		return secretbox.NewSecretboxTransformer([32]byte(raw)), nil // the length is validated before
	}
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	if provider == "aescbc" {
		return aestransformer.NewCBCTransformer(block), nil
	}
	return aestransformer.NewGCMTransformer(block)
}

// Names lists the keys that open, as the beginning of status.key and the longest name first: a KMS provider stands for all
// keys of its plugin.
func (c *Configuration) Names() []string { return c.names }

// LocalKeys returns a transformer for each local key by its name. It opens what this key sealed and nothing else.
func (c *Configuration) LocalKeys() map[string]value.Transformer {
	local := map[string]value.Transformer{}
	for _, k := range c.keys {
		if k.alone != nil {
			local[k.String()] = k.alone
		}
	}
	return local
}

// WriteKey names the key that seals: the first one. A KMS changes its key by itself, so its id is known to a Provider only.
func (c *Configuration) WriteKey() (provider, name, kmsKeyID string, err error) {
	if c.keys[0].provider == providerKMS {
		return "", "", "", errKMSUnknown
	}
	return c.keys[0].provider, c.keys[0].name, "", nil
}

// changed returns the local keys that have another secret than digests says.
func (c *Configuration) changed(digests map[string][sha256.Size]byte) []string {
	var names []string
	for _, k := range c.keys {
		if known, ok := digests[k.String()]; ok && k.alone != nil && known != k.digest {
			names = append(names, secret.ShowKey(k.String()))
		}
	}
	return names
}
