// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"strings"
	"testing"
)

func TestIsKeyName(t *testing.T) {
	for name, want := range map[string]bool{
		"key-2026-01": true, "K.e_y-9": true, strings.Repeat("a", 253): true,
		"": false, strings.Repeat("a", 254): false, "team:2026": false, "a/b": false, "a b": false, "a\n": false,
		"schlüssel": false, "a\xff": false, "a\x1b[2J": false, "a\x00": false, " a": false,
	} {
		if got := IsKeyName(name); got != want {
			t.Errorf("IsKeyName(%q) = %t", name, got)
		}
	}
}

func TestShowKey(t *testing.T) {
	for key, want := range map[string]string{
		"": "", "aesgcm/key-1": "aesgcm/key-1", "aesgcm/team:2026": "aesgcm/team:2026",
		"aesgcm/schlüssel": "aesgcm/schlüssel",
		"aesgcm/\x1b[2J":   UnreadableKey, "aesgcm/\xff": UnreadableKey, "aesgcm/a\nb": UnreadableKey,
		"aesgcm/\u202egpj": UnreadableKey,
	} {
		if got := ShowKey(key); got != want {
			t.Errorf("ShowKey(%q) = %q, want %q", key, got, want)
		}
	}
}

func TestCoversKey(t *testing.T) {
	for _, test := range []struct {
		asked, stored string
		want          bool
	}{
		{"aesgcm/a", "aesgcm/a", true}, {"kms/vault", "kms/vault/0a1b2c3d", true},
		{"kms/vault/0a1b2c3d", "kms/vault/0a1b2c3d", true},
		{"aesgcm/a", "aesgcm/ab", false}, {"aesgcm/a", "aesgcm/a/0a1b2c3d", false}, {"aesgcm/a ", "aesgcm/a", false},
		{"kms/a", "kms/a/b/0a1b2c3d", false}, {"kms/a/b", "kms/a/b/0a1b2c3d", true},
		{"kms/vault", "kms/vault2/0a1b2c3d", false},
		{"aesgcm/a", UnreadableKey, false},
	} {
		if got := CoversKey(test.asked, test.stored); got != test.want {
			t.Errorf("CoversKey(%q, %q) = %t", test.asked, test.stored, got)
		}
	}
}
