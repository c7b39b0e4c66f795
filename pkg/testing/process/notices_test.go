// SPDX-License-Identifier: Apache-2.0

package process

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

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
