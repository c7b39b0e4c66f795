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

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	apiserverconfig "k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/install"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	"k8s.io/apiserver/pkg/storage/value"
	aestransformer "k8s.io/apiserver/pkg/storage/value/encrypt/aes"
	"k8s.io/apiserver/pkg/storage/value/encrypt/secretbox"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

var (
	// errNotValid replaces the decoder's error, which may quote a line with a key.
	errNotValid = errors.New("not a valid EncryptionConfiguration of apiserver.config.k8s.io/v1 (syntax, " +
		"unknown or repeated field)")
	errNoProviders = errors.New("no providers for " + secret.Resource + "." + secret.GroupName +
		": add an entry under resources")
)

// CheckConfiguration refuses an invalid EncryptionConfiguration; see Parse.
func CheckConfiguration(data []byte) error {
	_, err := Parse(data)
	return err
}

// Parse returns the keys of an EncryptionConfiguration. It refuses an invalid one, and what upstream would accept
// although it would store a value in clear: one without our resource, or with the provider identity, for writing or
// reading. It also refuses two keys of one name under one provider, of which upstream would only use the first for
// reading, a write key whose name does not fit into an envelope, and KMS v1. Its errors contain no secret.
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
		return nil,
			fmt.Errorf("an entry for %s follows one that already covers it: remove one of them", secret.GroupResource)
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
	return namesSecureValues(entry) || slices.Contains(entry.Resources, "*."+secret.GroupName) ||
		slices.Contains(entry.Resources, "*.*")
}

func namesSecureValues(entry apiserverconfig.ResourceConfiguration) bool {
	return slices.Contains(entry.Resources, secret.GroupResource.String())
}

func checkProviders(providers []apiserverconfig.ProviderConfiguration) error {
	for _, provider := range providers {
		if provider.Identity != nil {
			return fmt.Errorf("lists the provider identity for %s: values must never be stored in clear, remove it",
				secret.GroupResource)
		}
		if provider.KMS != nil && provider.KMS.APIVersion != "v2" {
			return fmt.Errorf("kms provider %q has apiVersion %q: only v2 is supported", provider.KMS.Name,
				provider.KMS.APIVersion)
		}
		if provider.AESCBC != nil {
			klog.Warning("The encryption provider aescbc has no integrity protection; prefer aesgcm, secretbox or kms")
		}
	}
	return nil
}

// checkNames refuses two keys of one name, and a write key whose name does not fit into an envelope or status.key:
// everything after a colon would be lost. A key that only decrypts may have such a name: otherwise the values that an
// older version sealed under it could never be moved to another key.
func checkNames(keys []key) error {
	seen := sets.New[string]()
	for _, k := range keys {
		if seen.Has(k.String()) {
			return fmt.Errorf("has two keys named %s for %s: stored values reference keys by name, give each key "+
				"its own name", secret.ShowKey(k.String()), secret.GroupResource)
		}
		seen.Insert(k.String())
	}
	if first := keys[0]; !secret.IsKeyName(first.name) {
		return fmt.Errorf("the write key %q of provider %s has a name that a stored value cannot hold: use 1 to %d "+
			"of the characters A-Z a-z 0-9 . _ -; "+
			"to keep a key of this name for values that are sealed under it, put a new key before it", first.name,
			first.provider, secret.MaxKeyName)
	}
	return nil
}

const providerKMS = "kms"

// Configuration has the keys for secure values of an EncryptionConfiguration, in order: the first is the write key.
type Configuration struct {
	keys  []key
	names []string
}

// key is one key of the file; a KMS provider stands for all keys of its plugin.
type key struct {
	provider, name string
	// digest distinguishes two secrets of one name; alone uses only this key. A KMS has neither. Digests must not be
	// published: one would confirm a guess of a secret that is not random.
	digest [sha256.Size]byte
	alone  value.Transformer
}

// String returns the name of the key as in status.key, without the hash of a KMS key.
func (k key) String() string { return k.provider + "/" + k.name }

// newConfiguration returns the keys of providers that passed upstream's validation.
func newConfiguration(providers []apiserverconfig.ProviderConfiguration) (*Configuration, error) {
	c := &Configuration{names: keyNames(providers)}
	for _, listed := range listKeys(providers) {
		k, err := newKey(listed)
		if err != nil {
			return nil, err
		}
		c.keys = append(c.keys, k)
	}
	return c, nil
}

// KeyNames lists the keys of a file for secure values, as prefixes of status.key, longest first. It accepts files that
// Parse refuses, if they can be decoded.
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
	for _, listed := range listKeys(providers) {
		names = append(names, listed.provider+"/"+listed.Name)
	}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	return names
}

type listedKey struct {
	provider string
	apiserverconfig.Key
}

// listKeys returns the keys of providers in order. A KMS provider counts as one key without a secret.
func listKeys(providers []apiserverconfig.ProviderConfiguration) (keys []listedKey) {
	add := func(provider string, added ...apiserverconfig.Key) {
		for _, k := range added {
			keys = append(keys, listedKey{provider, k})
		}
	}
	for _, provider := range providers {
		switch {
		case provider.KMS != nil:
			add(providerKMS, apiserverconfig.Key{Name: provider.KMS.Name})
		case provider.AESGCM != nil:
			add("aesgcm", provider.AESGCM.Keys...)
		case provider.AESCBC != nil:
			add("aescbc", provider.AESCBC.Keys...)
		case provider.Secretbox != nil:
			add("secretbox", provider.Secretbox.Keys...)
		}
	}
	return keys
}

func newKey(listed listedKey) (key, error) {
	k := key{provider: listed.provider, name: listed.Name}
	if k.provider == providerKMS {
		return k, nil
	}
	raw, err := base64.StdEncoding.DecodeString(listed.Secret)
	if err != nil {
		return key{}, errors.New("a secret is not base64") // validated before
	}
	defer clear(raw)
	cipher, err := newCipher(k.provider, raw)
	if err != nil {
		return key{}, fmt.Errorf("key %s: %w", secret.ShowKey(k.String()), err)
	}
	k.digest = sha256.Sum256(raw)
	k.alone = value.NewPrefixTransformers(nil, value.PrefixTransformer{
		Prefix: []byte("k8s:enc:" + k.provider + ":v1:" + k.name + ":"), Transformer: cipher,
	})
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

// Names lists the keys as prefixes of status.key, longest first: a KMS provider stands for all keys of its plugin.
func (c *Configuration) Names() []string { return c.names }

// LocalKeys returns a transformer for each local key by its name. It opens only what this key sealed.
func (c *Configuration) LocalKeys() map[string]value.Transformer {
	local := map[string]value.Transformer{}
	for _, k := range c.keys {
		if k.alone != nil {
			local[k.String()] = k.alone
		}
	}
	return local
}

// WriteKey returns the write key, which is the first one. Only a Provider knows the key id of a KMS, which rotates it.
func (c *Configuration) WriteKey() (provider, name, kmsKeyID string, err error) {
	if c.keys[0].provider == providerKMS {
		return "", "", "", errKMSUnknown
	}
	return c.keys[0].provider, c.keys[0].name, "", nil
}

// changed returns the local keys whose secret differs from digests.
func (c *Configuration) changed(digests map[string][sha256.Size]byte) []string {
	var names []string
	for _, k := range c.keys {
		if known, ok := digests[k.String()]; ok && k.alone != nil && known != k.digest {
			names = append(names, secret.ShowKey(k.String()))
		}
	}
	return names
}
