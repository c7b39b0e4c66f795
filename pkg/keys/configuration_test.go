// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestCheckConfiguration(t *testing.T) {
	const (
		key      = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5MDA="
		aesgcm   = "  - aesgcm: {keys: [{name: a, secret: " + key + "}]}\n"
		identity = "  - identity: {}\n"
		head     = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
		ours     = "- resources: [securevalues.secret.grafana.app]\n  providers:\n"
	)
	two := func(first, second string) string {
		return fmt.Sprintf("  - aesgcm: {keys: [{name: %s, secret: %s}, {name: %q, secret: %s}]}\n", first, key,
			second, key)
	}
	for name, test := range map[string]struct{ text, want string }{
		"one key":               {head + ours + aesgcm, ""},
		"wildcard of the group": {head + "- resources: ['*.secret.grafana.app']\n  providers:\n" + aesgcm, ""},
		"wildcard of all":       {head + "- resources: ['*.*']\n  providers:\n" + aesgcm, ""},
		"identity elsewhere":    {head + "- resources: [configmaps]\n  providers:\n" + identity + ours + aesgcm, ""},
		"KMS without timeout": {head + ours +
			"  - kms: {apiVersion: v2, name: vault, endpoint: 'unix:///run/kms.sock'}\n", ""},
		"aescbc":          {head + ours + strings.Replace(aesgcm, "aesgcm", "aescbc", 1), ""},
		"identity writes": {head + ours + identity + aesgcm, "identity"},
		"identity reads":  {head + ours + aesgcm + identity, "identity"},
		"other resources only": {head + "- resources: [secrets]\n  providers:\n" + aesgcm,
			"no providers for securevalues.secret.grafana.app"},
		"masked by a wildcard": {head + "- resources: ['*.*']\n  providers:\n" + aesgcm + ours + identity,
			"already covers"},
		"named twice":     {head + ours + aesgcm + ours + aesgcm, "already covers"},
		"wildcard behind": {head + ours + aesgcm + "- resources: ['*.*']\n  providers:\n" + identity, ""},
		"no resources":    {head, "resources"},
		"no provider":     {head + ours, "providers"},
		"empty":           {"", "not a valid EncryptionConfiguration"},
		"another kind": {"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: " +
			"[]\n", "not a valid EncryptionConfiguration"},
		"unknown field": {head + ours + "  - aesgcm: {keys: [{name: a, secret: " + key + ", note: " + key +
			"}]}\n", "not a valid EncryptionConfiguration"},
		"broken YAML": {head + ours + "  - aesgcm: {keys: [{secret: " + key + "\n",
			"not a valid EncryptionConfiguration"},
		"two keys of one name": {head + ours +
			strings.Replace(aesgcm, "{name", "{name: a, secret: "+key+"}, {name", 1), "two keys named aesgcm/a"},
		"one name, two entries": {head + ours + aesgcm + "  - secretbox: {keys: [{name: b, secret: " + key + "}]}\n" +
			aesgcm, "two keys named aesgcm/a"},
		"one name, two ciphers": {head + ours + aesgcm + strings.Replace(aesgcm, "aesgcm", "secretbox", 1), ""},
		"KMS v1": {head + ours +
			"  - kms: {apiVersion: v1, name: vault, endpoint: 'unix:///run/kms.sock'}\n", "only v2"},
		"colon, reader": {head + ours + two("b", "team:2026-01"), ""},
		"colon, writer": {head + ours + two("team:2026-02", "team:2026-01"),
			`the write key "team:2026-02" of provider aesgcm has a name that a stored value cannot hold`},
		"slash, writer":     {head + ours + two("a/b", "c"), "cannot hold"},
		"blank, writer":     {head + ours + two(`"a "`, "c"), "cannot hold"},
		"escape, writer":    {head + ours + two(`"\e[2J"`, "c"), `"\x1b[2J"`},
		"not ASCII, writer": {head + ours + two("schlüssel", "c"), "cannot hold"},
		"254 bytes, writer": {head + ours + two(strings.Repeat("a", 254), "c"), "cannot hold"},
		"253 bytes, writer": {head + ours + two(strings.Repeat("a", 253), "c"), ""},
		"KMS name, writer": {head + ours +
			"  - kms: {apiVersion: v2, name: a/b, endpoint: 'unix:///run/kms.sock'}\n", "cannot hold"},
		"unknown provider": {head + ours + "  - rot13: {}\n", "not a valid EncryptionConfiguration"},
		"short key": {head + ours + "  - aesgcm: {keys: [{name: a, secret: Y2FuYXJ5}]}\n",
			"not of the expected length"},
	} {
		t.Run(name, func(t *testing.T) {
			err := CheckConfiguration([]byte(test.text))
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("got %v, want an error with %q", err, test.want)
			}
			if strings.Contains(err.Error(), "Y2FuYX") {
				t.Errorf("the error quotes a key: %v", err)
			}
		})
	}
}

func TestKeyNames(t *testing.T) {
	const text = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [securevalues.secret.grafana.app]
  providers:
  - kms: {apiVersion: v2, name: vault, endpoint: 'unix:///run/kms.sock'}
  - aesgcm: {keys: [{name: new, secret: Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5MDA=},
      {name: old, secret: Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5MDA=}]}
  - secretbox: {keys: [{name: box, secret: Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5MDA=}]}
`
	names, err := KeyNames([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"secretbox/box", "aesgcm/new", "aesgcm/old", "kms/vault"} // the longest first
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	if config, err := Parse([]byte(text)); err != nil || !slices.Equal(config.Names(), want) {
		t.Errorf("Parse: %v, %v", config, err)
	}
	for _, text := range []string{"kind: EncryptionConfiguration", "resources: ["} {
		if _, err := KeyNames([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
