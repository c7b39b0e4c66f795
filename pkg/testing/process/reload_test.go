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
