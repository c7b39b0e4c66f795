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
		harness.Eventually(t, token+" gets another code", func() bool { return s.Get(t, path, token).Code == want })
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

// What is refused or does not answer is told by /readyz?verbose and by a metric, keeps nobody out, and goes when it is
// mended.
func TestNotices(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	issuers, policy := filepath.Join(dir, "issuers.yaml"), filepath.Join(dir, "policy.yaml")
	harness.WriteFile(t, issuers, `{"apiVersion":"apiserver.config.k8s.io/v1","kind":"AuthenticationConfiguration","jwt":[{"issuer":{"url":"https://127.0.0.1:1","audiences":["a"]},
"claimMappings":{"username":{"claim":"sub","prefix":""}}}]}`)
	const metadata = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"
	harness.WriteFile(t, policy, metadata)
	s := harness.Start(t, harness.Options{
		Tokens: []string{harness.Token("t-one", "one")}, RBAC: []string{lister("one")},
		Args: []string{"--authentication-config=" + issuers, "--audit-policy-file=" + policy},
	})
	for name, file := range map[string]string{
		"token-auth-file": s.TokenFile, "audit-policy-file": policy, "encryption-config": filepath.Join(s.DataDir, "encryption.yaml"),
		"rbac-dir":            filepath.Join(s.RBACDir, "broken.yaml"),
		"serving-certificate": filepath.Join(s.DataDir, "pki", "serving.crt"),
	} {
		before, err := os.ReadFile(file)
		harness.WriteFile(t, file, "kind: Nonsense, \"")
		wantNotice(t, s, name, true)
		if err != nil { // it was not there
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		} else {
			harness.WriteFile(t, file, string(before))
		}
		wantNotice(t, s, name, false)
	}
	wantNotice(t, s, "token-issuers", true)
	wantNotice(t, s, "audit-log", false)
}

func wantNotice(t *testing.T, s *harness.Server, name string, shown bool) {
	t.Helper()
	harness.Eventually(t, name, func() bool {
		ready := get(t, s, "/readyz?verbose").Want(t, http.StatusOK)
		value := s.Metric(t, `secret_server_notice{notice="`+name+`"}`)
		return strings.Contains(string(ready.Body), "[+]"+name+" (") == shown && (value == 1) == shown
	})
	want := http.StatusOK
	if shown {
		want = http.StatusInternalServerError
	}
	// Many may ask, so the answer names neither file nor fault.
	if got := s.Get(t, "/readyz/"+name, s.AdminToken); got.Code != want || strings.Contains(string(got.Body), ".yaml") {
		t.Errorf("/readyz/%s: %d %s, want %d", name, got.Code, got.Body, want)
	}
}
