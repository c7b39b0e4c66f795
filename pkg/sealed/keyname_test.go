// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// kmsObject encodes what KeyName reads of an EncryptedObject: encryptedData, keyID, and a field behind it.
func kmsObject(keyID string) []byte {
	object := protowire.AppendTag(nil, 1, protowire.BytesType)
	object = protowire.AppendBytes(object, []byte("ciphertext"))
	object = protowire.AppendTag(object, 2, protowire.BytesType)
	object = protowire.AppendString(object, keyID)
	object = protowire.AppendTag(object, 5, protowire.VarintType)
	return protowire.AppendVarint(object, 1)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:4])
}

func TestKeyName(t *testing.T) {
	const kms = "k8s:enc:kms:v2:vault1:"
	unknown := "kms/vault1/" + shortHash("")
	object := string(kmsObject("arn:of/an:account"))
	for name, tc := range map[string]struct{ sealed, want string }{
		"aesgcm":                 {"k8s:enc:aesgcm:v1:key1:data", "aesgcm/key1"},
		"aescbc":                 {"k8s:enc:aescbc:v1:key2:data:with:colons", "aescbc/key2"},
		"secretbox":              {"k8s:enc:secretbox:v1:box:", "secretbox/box"},
		"kms v1":                 {"k8s:enc:kms:v1:vault1:data", "kms/vault1"},
		"kms v2":                 {kms + object, "kms/vault1/" + shortHash("arn:of/an:account")},
		"kms v2, empty key id":   {kms + string(kmsObject("")), unknown},
		"kms v2, no object":      {kms, unknown},
		"kms v2, garbage":        {kms + "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", unknown},
		"kms v2, key id cut":     {kms + object[:16], unknown},
		"kms v2, ciphertext cut": {kms + object[:5], unknown},
		"kms v2, key id no bytes": {kms + string(protowire.AppendVarint(protowire.AppendTag(nil, 2,
			protowire.VarintType), 7)), unknown},
		"kms v2, group never ends":  {kms + "\x0b\x0b\x0b", unknown},
		"nothing":                   {"", ""},
		"prefix alone":              {"k8s:enc:", ""},
		"no version":                {"k8s:enc:aesgcm:", ""},
		"no name":                   {"k8s:enc:aesgcm:v1:", ""},
		"name does not end":         {"k8s:enc:aesgcm:v1:key1", ""},
		"no envelope":               {"plaintext", ""},
		"another prefix":            {"k8s:dec:aesgcm:v1:key1:data", ""},
		"prefix not at the start":   {" k8s:enc:aesgcm:v1:key1:data", ""},
		"a record of upstream":      {"k8s\x00\x0a\x0b", ""},
		"a plaintext of the sealer": {"\x01" + strings.Repeat("x", 40), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := KeyName([]byte(tc.sealed), nil); got != tc.want {
				t.Errorf("KeyName = %q, want %q", got, tc.want)
			}
		})
	}
}

// TestKeyNameOfTruncatedEnvelope: no cut may panic, nor name another key.
func TestKeyNameOfTruncatedEnvelope(t *testing.T) {
	envelope := append([]byte("k8s:enc:kms:v2:vault1:"), kmsObject("id-1")...)
	allowed := map[string]bool{"": true, "kms/vault1/" + shortHash(""): true, "kms/vault1/" + shortHash("id-1"): true}
	for n := range envelope {
		if got := KeyName(envelope[:n], nil); !allowed[got] {
			t.Errorf("cut to %d bytes: %q", n, got)
		}
	}
}

// TestKeyNameOfSealed: the names as the real providers write them.
func TestKeyNameOfSealed(t *testing.T) {
	for provider, want := range map[string]string{
		"aesgcm": "^aesgcm/key1$", "secretbox": "^secretbox/key1$", "aescbc": "^aescbc/key1$",
		"kms": "^kms/vault1/" + shortHash("1") + "$", // the test plugin calls its key "1"
	} {
		t.Run(provider, func(t *testing.T) {
			obj := mustSeal(t, NewSealer(newTransformer(t, provider), nil), newObject("a", canary))
			if got := KeyName(obj.Sealed, nil); !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("KeyName = %q, want %s", got, want)
			}
		})
	}
}

// A name with a colon, which older versions took, is told by the names of the configuration. The longest that fits
// wins.
func TestKeyNameByConfiguration(t *testing.T) {
	names := []string{"aesgcm/team:2026-01", "kms/of/us", "aesgcm/schlüssel 1", "secretbox/team:2026",
		"aesgcm/esc\x1b:a", "aesgcm/team"}
	object := string(kmsObject("id-1"))
	for sealed, want := range map[string]string{
		"k8s:enc:aesgcm:v1:team:2026-01:data": "aesgcm/team:2026-01",
		"k8s:enc:aesgcm:v1:team:2026-01data:": "aesgcm/team",
		"k8s:enc:aesgcm:v1:team:data":         "aesgcm/team",
		"k8s:enc:aesgcm:v1:team":              "",
		"k8s:enc:aesgcm:v1:team:2026-01":      "aesgcm/team",
		"k8s:enc:secretbox:v1:team:2026:data": "secretbox/team:2026",
		"k8s:enc:aescbc:v1:team:2026-01:data": "aescbc/team",
		"k8s:enc:aesgcm:v1:schlüssel 1:data":  "aesgcm/schlüssel 1",
		"k8s:enc:aesgcm:v1:schlüssel 2:data":  secret.UnreadableKey,
		"k8s:enc:aesgcm:v1:esc\x1b:a:data":    secret.UnreadableKey,
		"k8s:enc:kms:v2:of/us:" + object:      "kms/of/us/" + shortHash("id-1"),
		"k8s:enc:kms:v2:of/them:" + object:    secret.UnreadableKey,
	} {
		if got := KeyName([]byte(sealed), names); got != want {
			t.Errorf("KeyName(%q) = %q, want %q", sealed, got, want)
		}
	}
}

// TestAttackKeyNameInEtcd: clients with write access to etcd choose the bytes of a key's name, and none of them is
// believed.
func TestAttackKeyNameInEtcd(t *testing.T) {
	long := strings.Repeat("a", secret.MaxKeyName)
	for sealed, want := range map[string]string{
		"k8s:enc:aesgcm:v1:\xff:data":            secret.UnreadableKey,
		"k8s:enc:aesgcm:v1:\x1b[2J\x1b[31m:data": secret.UnreadableKey,
		"k8s:enc:aesgcm:v1:a\nb:data":            secret.UnreadableKey,
		"k8s:enc:aesgcm:v1:a/b:data":             secret.UnreadableKey,
		"k8s:enc:aesgcm:v1:a b:data":             secret.UnreadableKey,
		"k8s:enc:aesgcm:v1::data":                secret.UnreadableKey,
		"k8s:enc:aesgcm:v1:" + long + ":data":    "aesgcm/" + long,
		"k8s:enc:aesgcm:v1:" + long + "a:data":   secret.UnreadableKey,
		"k8s:enc:kms:v2:\x1b]0;x:data":           secret.UnreadableKey,
		"k8s:enc:\x1b[2J:v1:key1:data":           secret.UnreadableKey,
		"k8s:enc:rot13:v1:key1:data":             secret.UnreadableKey,
		"k8s:enc:aesgcm:v2:key1:data":            secret.UnreadableKey,
		"k8s:enc:aesgcm:\x1b[2J:key1:data":       secret.UnreadableKey,
	} {
		if got := KeyName([]byte(sealed), nil); got != want {
			t.Errorf("KeyName(%q) = %q, want %q", sealed, got, want)
		}
	}
}

var shownName = regexp.MustCompile(`^(|unreadable|(aesgcm|aescbc|secretbox|kms)/[A-Za-z0-9._-]{1,253}|` +
	`kms/[A-Za-z0-9._-]{1,253}/[0-9a-f]{8})$`)

func FuzzKeyName(f *testing.F) {
	f.Add([]byte(testEnvelope))
	f.Add(append([]byte("k8s:enc:kms:v2:vault1:"), kmsObject("id-1")...))
	f.Add([]byte("k8s:enc:kms:v2:vault1:\x0b\x0b"))
	f.Add([]byte("k8s:enc:aesgcm:v1:\x1b[2J:data"))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if name := KeyName(sealed, nil); !shownName.MatchString(name) || name != "" &&
			!strings.HasPrefix(string(sealed), envelopePrefix) {
			t.Errorf("KeyName(%q) = %q", sealed, name)
		}
		const odd = "aesgcm/team:2026"
		if name := KeyName(sealed, []string{odd}); name != odd && !shownName.MatchString(name) {
			t.Errorf("KeyName(%q) by configuration = %q", sealed, name)
		}
	})
}
