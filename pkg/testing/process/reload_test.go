// SPDX-License-Identifier: Apache-2.0

package process

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/issuer"
)

// lister lets a user list values.
func lister(user string) string {
	return harness.ClusterRole("lister", harness.Rule("list", "securevalues")) + harness.Grant(user, "lister", "")
}

// Tokens, roles and issuers change while the server runs; a broken edit keeps the last good ones and says so.
func TestReloadAccess(t *testing.T) {
	provider := issuer.New(t)
	config := filepath.Join(t.TempDir(), "authentication.yaml")
	harness.WriteFile(t, config, strings.Split(provider.Config(), "jwt:")[0]+"jwt: []\n")
	s := harness.Start(t, harness.Options{
		RBAC:   []string{lister("first")},
		Tokens: []string{harness.Token("t-first", "first")},
		Args:   []string{"--authentication-config=" + config},
	})
	path := harness.Collection("default")
	becomes := func(token string, want int) {
		t.Helper()
		harness.Eventually(t, token+" gets another code", func() bool { return code(t, s, path, token) == want })
	}
	logs := func(text string) {
		t.Helper()
		harness.Eventually(t, "the log has "+text, func() bool { return strings.Contains(s.Log(t), text) })
	}
	becomes("t-first", http.StatusOK)
	becomes("t-second", http.StatusUnauthorized)

	harness.WriteFile(t, s.TokenFile, harness.Token("t-first", "first")+"\n"+harness.Token("t-second", "second")+"\n")
	becomes("t-second", http.StatusForbidden)
	manifest := filepath.Join(s.RBACDir, "test-0.yaml")
	harness.WriteFile(t, manifest, lister("second"))
	becomes("t-second", http.StatusOK)
	becomes("t-first", http.StatusForbidden)

	harness.WriteFile(t, manifest, lister("second")+"nonsense: 1\n")
	logs(`unknown field \"nonsense\"`)
	logs(`err="--rbac-dir`)
	harness.WriteFile(t, s.TokenFile, "t-third-leaky\n")
	logs(`"File not reloaded, its last good content stays in force" err="--token-auth-file`)
	if strings.Contains(s.Log(t), "t-third-leaky") {
		t.Error("the log holds a token")
	}
	becomes("t-second", http.StatusOK)

	harness.WriteFile(t, s.TokenFile, harness.Token("t-first", "first")+"\n")
	becomes("t-second", http.StatusUnauthorized)
	harness.WriteFile(t, config, provider.Config())
	becomes(provider.Token(t, nil), http.StatusForbidden)
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	becomes("t-first", http.StatusForbidden)
}

// A broken edit of the keys keeps the last good ones, one that would store in clear too, and log, metric and readiness
// say so until it is mended.
func TestReloadBrokenKeys(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	file := filepath.Join(s.DataDir, "encryption.yaml")
	good := string(harness.ReadFile(t, file))
	key := keyOf(s.Create(t, "keys", "first", harness.Canary()))
	canaries := []string{leakyKey}
	for name, broken := range map[string]string{
		"syntax":     "resources: [" + leakyKey,
		"identity":   encryption("identity: {}"),
		"short":      encryption(aesgcm(shortKey)),
		"dead-kms":   encryption("kms: {apiVersion: v2, name: away, endpoint: 'unix:///nowhere/kms.sock', timeout: 100ms}", aesgcm(leakyKey)),
		"empty-file": "",
	} {
		failures := s.Metric(t, `secret_reload_total{result="failure",source="encryption-provider-config"}`)
		harness.WriteFile(t, file, broken)
		harness.Eventually(t, name+" is refused", func() bool {
			return s.Metric(t, `secret_reload_total{result="failure",source="encryption-provider-config"}`) > failures
		})
		ready := get(t, s, "/readyz?verbose")
		if ready.Code != http.StatusOK || !strings.Contains(string(ready.Body), "[+]encryption-config (the file on disk is refused") {
			t.Errorf("%s: /readyz?verbose: %d %s", name, ready.Code, ready.Body)
		}
		// Many may ask, so the answer names neither file nor fault.
		own := s.Do(t, harness.Request{Method: http.MethodGet, Path: "/readyz/encryption-config", Token: s.AdminToken})
		if own.Code != http.StatusInternalServerError || strings.Contains(string(own.Body), "encryption.yaml") {
			t.Errorf("%s: /readyz/encryption-config: %d %s", name, own.Code, own.Body)
		}
		canaries = append(canaries, harness.Canary())
		if got := keyOf(s.Create(t, "keys", "after-"+name, canaries[len(canaries)-1])); got != key {
			t.Errorf("after %s %q seals, want %q", name, got, key)
		}
		harness.WriteFile(t, file, good)
		harness.Eventually(t, name+" is mended", func() bool {
			return code(t, s, "/readyz/encryption-config", s.AdminToken) == http.StatusOK
		})
	}
	if log := s.Log(t); !strings.Contains(log, "File not reloaded, its last good content stays in force") {
		t.Error("the log does not tell of the broken edits")
	}
	s.Leaks(t, canaries...)
	s.Stop(t)
	if got := len(harness.OpenAll(t, s.DataDir)); got != 6 {
		t.Errorf("%d values open, want 6", got)
	}
}

func keyOf(object map[string]any) string {
	status, _ := object["status"].(map[string]any)
	key, _ := status["key"].(string)
	return key
}
