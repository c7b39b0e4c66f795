// SPDX-License-Identifier: Apache-2.0

package process

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestGrantWhileTheServerRuns is the way of a first service: a server without access flags, a value for a decrypter of the
// operator's own, and grant and revoke beside it.
func TestGrantWhileTheServerRuns(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Args: []string{"--allowed-decrypters=checkout"}})
	value := harness.Canary()
	s.Create(t, "default", "password", value, "checkout")
	tool := func(args ...string) {
		t.Helper()
		if out, errs, code := harness.Tool(t, append(args, "--data-dir="+s.DataDir)...); code != 0 {
			t.Fatalf("%q: %d, %s%s", args, code, out, errs)
		}
	}
	wait := func(token string, code int, body string) {
		t.Helper()
		harness.Eventually(t, "the decrypt port answers "+http.StatusText(code), func() bool {
			got := s.OnDecryptPort().Do(t, harness.Request{
				Method: http.MethodGet, Path: harness.DecryptPath("default", "password"), Token: token,
				Header: http.Header{"Accept": {"text/plain"}},
			})
			return got.Code == code && (body == "" || string(got.Body) == body)
		})
	}
	tool("grant", "checkout", "--decrypter=checkout", "--namespace=default")
	token := string(harness.ReadFile(t, filepath.Join(s.DataDir, "tokens", "checkout.token")))
	wait(token, http.StatusOK, value)
	tool("revoke", "checkout", "--decrypter=checkout", "--namespace=default")
	wait(token, http.StatusForbidden, "")
	tool("grant", "checkout", "--decrypter=checkout", "--namespace=default")
	wait(token, http.StatusOK, value)
	tool("revoke", "checkout")
	wait(token, http.StatusUnauthorized, "")
	s.Leaks(t, value, token)
}
