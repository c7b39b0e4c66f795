// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"encoding/base64"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/keys"
)

// What Prepare makes is what the server's own loader takes, and it seals with AES-GCM.
func TestGeneratedKeySeals(t *testing.T) {
	day := time.Date(2026, 1, 2, 23, 59, 0, 0, time.FixedZone("west", -5*60*60)) // the 3rd in UTC
	d := prepare(t, filepath.Join(t.TempDir(), "data"), func(c *Config) { c.now = func() time.Time { return day } })
	loaded, err := encryptionconfig.LoadEncryptionConfig(t.Context(), d.EncryptionConfig(), false, "test")
	if err != nil {
		t.Fatal(err)
	}
	transformer := loaded.Transformers[schema.ParseGroupResource(sealedResource)]
	if transformer == nil {
		t.Fatalf("no transformer for %s", sealedResource)
	}
	aad := value.DefaultContext("somewhere")
	sealed, err := transformer.TransformToStorage(t.Context(), []byte("plain"), aad)
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`^k8s:enc:aesgcm:v1:key-20260103-[0-9a-f]{8}:`).Match(sealed) {
		t.Errorf("sealed under %q", sealed[:min(len(sealed), 50)])
	}
	opened, _, err := transformer.TransformFromStorage(t.Context(), sealed, aad)
	if err != nil || string(opened) != "plain" {
		t.Errorf("opened %q, %v", opened, err)
	}
	m := regexp.MustCompile(`secret: (\S+)`).FindStringSubmatch(read(t, d.EncryptionConfig()))
	if m == nil {
		t.Fatal("no key in encryption.yaml")
	}
	if key, err := base64.StdEncoding.DecodeString(m[1]); err != nil || len(key) != 32 {
		t.Errorf("key of %d bytes, %v; want 32", len(key), err)
	}
}

const (
	encryptionHead = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [securevalues.secret.grafana.app]\n  providers:\n"
	goodKey        = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5MDA="
)

func TestEditedEncryptionConfig(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		ok         bool
	}{
		{"two keys", encryptionHead + "  - aesgcm: {keys: [{name: b, secret: " + goodKey + "}, {name: a, secret: " + goodKey + "}]}\n", true},
		{"KMS with default timeout", encryptionHead + "  - kms: {apiVersion: v2, name: vault, endpoint: 'unix:///run/kms.sock'}\n", true},
		{"unknown field", encryptionHead + "  - aesgcm: {keys: [{name: a, secret: " + goodKey + ", secretx: canary}]}\n", false},
		{"repeated field", encryptionHead + "  - aesgcm: {keys: [{name: a, secret: canary, secret: " + goodKey + "}]}\n", false},
		{"unknown provider", encryptionHead + "  - rot13: {keys: [{name: a, secret: " + goodKey + "}]}\n", false},
		{"no provider", encryptionHead, false},
		{"key of wrong length", encryptionHead + "  - aesgcm: {keys: [{name: a, secret: Y2FuYXJ5}]}\n", false},
		{"key not base64", encryptionHead + "  - aesgcm: {keys: [{name: a, secret: canary-!}]}\n", false},
		{"key of wrong type", encryptionHead + "  - aesgcm: {keys: [{name: a, secret: [canary]}]}\n", false},
		{"other kind", "apiVersion: v1\nkind: Secret\n", false},
		{"other version", strings.Replace(encryptionHead, "/v1", "/v9", 1) + "  - identity: {}\n", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filled(t)
			path := filepath.Join(dir, "encryption.yaml")
			write(t, path, tc.text)
			if !tc.ok {
				refused(t, dir, path, "restore it from a backup")
				return
			}
			prepare(t, dir)
			if got := read(t, path); got != tc.text {
				t.Errorf("the edited file was changed to:\n%s", got)
			}
		})
	}
}

// Two keys that are made on one day differ in name: put into one file, both open.
func TestGeneratedNamesDiffer(t *testing.T) {
	now, names := time.Now(), map[string]bool{}
	for range 100 {
		config, err := newEncryption(now)
		if err != nil {
			t.Fatal(err)
		}
		keys, err := keys.Parse(config)
		if err != nil {
			t.Fatal(err)
		}
		names[keys.Names()[0]] = true
	}
	if len(names) != 100 {
		t.Errorf("100 keys have %d names", len(names))
	}
}
