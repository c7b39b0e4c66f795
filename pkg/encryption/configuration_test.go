// SPDX-License-Identifier: Apache-2.0

package encryption

import (
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
	for name, test := range map[string]struct{ text, want string }{
		"one key":               {head + ours + aesgcm, ""},
		"wildcard of the group": {head + "- resources: ['*.secret.grafana.app']\n  providers:\n" + aesgcm, ""},
		"wildcard of all":       {head + "- resources: ['*.*']\n  providers:\n" + aesgcm, ""},
		"identity elsewhere":    {head + "- resources: [configmaps]\n  providers:\n" + identity + ours + aesgcm, ""},
		"KMS without timeout":   {head + ours + "  - kms: {apiVersion: v2, name: vault, endpoint: 'unix:///run/kms.sock'}\n", ""},
		"aescbc":                {head + ours + strings.Replace(aesgcm, "aesgcm", "aescbc", 1), ""},
		"identity writes":       {head + ours + identity + aesgcm, "identity"},
		"identity reads":        {head + ours + aesgcm + identity, "identity"},
		"other resources only":  {head + "- resources: [secrets]\n  providers:\n" + aesgcm, "no providers for securevalues.secret.grafana.app"},
		"masked by a wildcard":  {head + "- resources: ['*.*']\n  providers:\n" + aesgcm + ours + identity, "comes after"},
		"named twice":           {head + ours + aesgcm + ours + aesgcm, "comes after"},
		"wildcard behind":       {head + ours + aesgcm + "- resources: ['*.*']\n  providers:\n" + identity, ""},
		"no resources":          {head, "resources"},
		"no provider":           {head + ours, "providers"},
		"empty":                 {"", "not a valid EncryptionConfiguration"},
		"another kind":          {"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: []\n", "not a valid EncryptionConfiguration"},
		"unknown field":         {head + ours + "  - aesgcm: {keys: [{name: a, secret: " + key + ", note: " + key + "}]}\n", "not a valid EncryptionConfiguration"},
		"broken YAML":           {head + ours + "  - aesgcm: {keys: [{secret: " + key + "\n", "not a valid EncryptionConfiguration"},
		"two keys of one name":  {head + ours + strings.Replace(aesgcm, "{name", "{name: a, secret: "+key+"}, {name", 1), "aesgcm/a twice"},
		"one name, two entries": {head + ours + aesgcm + "  - secretbox: {keys: [{name: b, secret: " + key + "}]}\n" + aesgcm, "aesgcm/a twice"},
		"one name, two ciphers": {head + ours + aesgcm + strings.Replace(aesgcm, "aesgcm", "secretbox", 1), ""},
		"KMS v1":                {head + ours + "  - kms: {apiVersion: v1, name: vault, endpoint: 'unix:///run/kms.sock'}\n", "only v2"},
		"unknown provider":      {head + ours + "  - rot13: {}\n", "not a valid EncryptionConfiguration"},
		"short key":             {head + ours + "  - aesgcm: {keys: [{name: a, secret: Y2FuYXJ5}]}\n", "not of the expected length"},
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
  - aesgcm: {keys: [{name: new, secret: Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5MDA=}, {name: old, secret: Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5MDA=}]}
  - secretbox: {keys: [{name: box, secret: Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5MDA=}]}
`
	names, err := KeyNames([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"kms/vault", "aesgcm/new", "aesgcm/old", "secretbox/box"}
	if !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	if _, err := KeyNames([]byte("kind: EncryptionConfiguration")); err == nil {
		t.Error("a configuration without resources was taken")
	}
}
