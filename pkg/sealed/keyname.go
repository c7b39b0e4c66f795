// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// kmsKeyIDField is EncryptedObject.keyID in k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2/api.proto.
const kmsKeyIDField = 2

// versions lists the encrypting providers and the versions of their envelopes.
var versions = map[string][]string{"aesgcm": {"v1"}, "aescbc": {"v1"}, "secretbox": {"v1"}, providerKMS: {"v1", "v2"}}

const providerKMS = "kms"

// KeyName names the key that sealed a ciphertext, read from the envelope's prefix: "aesgcm/NAME", "secretbox/NAME",
// "aescbc/NAME", or "kms/PROVIDER/HASH" with a short hash of the KMS key id, which may be an account's resource name. A
// prefix ends at a colon. Names of an older configuration may contain one: configured has the names of the
// configuration as PROVIDER/NAME, longest first, and the first match wins. Any other name is secret.UnreadableKey
// unless secret.IsKeyName, because clients with write access to etcd may put anything there. For bytes that are not an
// envelope the name is "".
func KeyName(sealed []byte, configured []string) string {
	rest, ok := bytes.CutPrefix(sealed, []byte(envelopePrefix))
	if !ok {
		return ""
	}
	head, rest, ok := bytes.Cut(rest, []byte(":"))
	if !ok {
		return ""
	}
	version, rest, ok := bytes.Cut(rest, []byte(":"))
	if !ok {
		return ""
	}
	provider := string(head)
	name, rest, ok := cutName(provider, rest, configured)
	if !ok {
		return ""
	}
	if name == "" || !slices.Contains(versions[provider], string(version)) {
		return secret.UnreadableKey
	}
	if provider == providerKMS && string(version) == "v2" {
		return kmsKeyName(name, kmsKeyID(rest))
	}
	return provider + "/" + name
}

// SplitKey returns the two parts of a KeyName for a table: "-" for an absent one.
func SplitKey(name string) (provider, key string) {
	provider, key, named := strings.Cut(name, "/")
	switch {
	case named:
		return provider, key
	case name == "":
		return "-", "-"
	default:
		return "-", name
	}
}

// cutName returns the name in a prefix and what follows it; the name is "" if it must not be shown.
func cutName(provider string, rest []byte, configured []string) (name string, after []byte, ok bool) {
	for _, key := range configured {
		kind, name, _ := strings.Cut(key, "/")
		if kind == provider && len(rest) > len(name) && rest[len(name)] == ':' && string(rest[:len(name)]) == name {
			if !secret.IsPrintable(name) {
				name = ""
			}
			return name, rest[len(key)-len(kind):], true
		}
	}
	found, after, ok := bytes.Cut(rest, []byte(":"))
	if name = string(found); !secret.IsKeyName(name) {
		name = ""
	}
	return name, after, ok
}

// kmsKeyName names a key of a KMS by a short hash of its id.
func kmsKeyName(provider, keyID string) string {
	sum := sha256.Sum256([]byte(keyID))
	return providerKMS + "/" + provider + "/" + hex.EncodeToString(sum[:])[:secret.KMSHashLength]
}

// kmsKeyID finds the key id in an encoded EncryptedObject without copying its ciphertext.
func kmsKeyID(object []byte) string {
	for len(object) > 0 {
		number, kind, n := protowire.ConsumeTag(object)
		if n < 0 {
			return ""
		}
		object = object[n:]
		if number == kmsKeyIDField && kind == protowire.BytesType {
			id, n := protowire.ConsumeBytes(object)
			if n < 0 {
				return ""
			}
			return string(id)
		}
		if n = protowire.ConsumeFieldValue(number, kind, object); n < 0 {
			return ""
		}
		object = object[n:]
	}
	return ""
}
