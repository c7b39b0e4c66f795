// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/server/options/encryptionconfig"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// FuzzEncryptionConfig feeds a file of keys to what checks it. An error quotes no key, and what is taken seals:
// upstream loads it, and its output for our resource is not the input.
func FuzzEncryptionConfig(f *testing.F) {
	const (
		key  = "Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5MDA="
		head = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
		ours = "- resources: [securevalues.secret.grafana.app]\n  providers:\n"
		gcm  = "  - aesgcm: {keys: [{name: a, secret: " + key + "}]}\n"
	)
	for _, text := range []string{
		"", head, head + ours + gcm, head + ours + "  - identity: {}\n" + gcm, head + ours + gcm +
			"  - identity: {}\n", head + "- resources: ['*.*']\n  providers:\n" + gcm,
		head + "- resources: [secrets]\n  providers:\n" + gcm + ours + strings.Replace(gcm, "aesgcm", "secretbox", 1),
		head + ours + strings.Replace(gcm, "aesgcm", "aescbc", 1),
		head + ours + "  - kms: {apiVersion: v2, name: v, endpoint: 'unix:///x.sock'}\n", head + ours +
			strings.Replace(gcm, "secret:", "secrte:", 1),
		head + ours + strings.Replace(gcm, key, key[:20], 1), head + ours + strings.Replace(gcm, key, "["+key+"]", 1),
		head + ours + "  - &a {x: *a}\n", "{" + key,
		head + ours + gcm + ours + gcm, head +
			"- resources: ['*.secret.grafana.app', 'securevalues.secret.grafana.app']\n  providers:\n" + gcm,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		names, nameErr := KeyNames(data)
		err := CheckConfiguration(data)
		for _, err := range []error{err, nameErr} {
			if err != nil && strings.Contains(err.Error(), key[:8]) {
				t.Fatalf("the error quotes a key: %v", err)
			}
		}
		if err != nil || strings.Contains(string(data), "kms") { // a plugin would be dialled
			return
		}
		if nameErr != nil || len(names) == 0 {
			t.Fatalf("taken, and without key names: %v", nameErr)
		}
		requireSeals(t, data)
	})
}

// requireSeals loads the file as the server does and seals with it.
func requireSeals(t *testing.T, data []byte) {
	t.Helper()
	file := t.TempDir() + "/encryption.yaml"
	harness.WriteFile(t, file, string(data))
	config, err := encryptionconfig.LoadEncryptionConfig(t.Context(), file, false, "fuzz")
	if err != nil {
		t.Fatalf("taken by the check and refused by upstream: %v", err)
	}
	transformer, ok := config.Transformers[secret.GroupResource]
	if !ok {
		for resource, wildcard := range config.Transformers {
			if strings.HasPrefix(resource.String(), "*.") {
				transformer, ok = wildcard, true
			}
		}
	}
	if !ok {
		t.Fatal("taken, and nothing would seal")
	}
	sealed, err := transformer.TransformToStorage(t.Context(), []byte("the value in clear"), additional{})
	if err != nil || !strings.HasPrefix(string(sealed), "k8s:enc:") ||
		strings.Contains(string(sealed), "the value in clear") {
		t.Fatalf("taken, and would store %q (%v)", sealed, err)
	}
}

// additional is the authenticated data of an object.
type additional struct{}

func (additional) AuthenticatedData() []byte { return []byte("default/one") }
