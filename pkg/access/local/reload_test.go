// SPDX-License-Identifier: Apache-2.0

package local

import (
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
)

// names returns who the tokens are, "" for refused.
func names(t *testing.T, s *testServer, tokens ...string) []string {
	t.Helper()
	found := make([]string, 0, len(tokens))
	for _, token := range tokens {
		_, who, _ := s.get(t, secretsPath, "Bearer "+token, nil)
		found = append(found, who.Name)
	}
	return found
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	for n := range want {
		if got[n] != want[n] {
			t.Errorf("got %q, want %q", got, want)
			return
		}
	}
}

func TestTokenFileReload(t *testing.T) {
	path := writeFile(t, "tokens.csv", "one,alice,1\n")
	a := newAuthenticator(t, Config{TokenAuthFile: path})
	s := serve(t, a)
	step := func(content, one, two string) {
		t.Helper()
		rewrite(t, path, content)
		settle(t.Context(), a)
		want(t, names(t, s, "one", "two"), one, two)
	}
	step("one,alice,1\ntwo,bob,2\n", "alice", "bob")
	step("broken\n", "alice", "bob")
	step("broken\n", "alice", "bob")
	step("two,bob,2\n", "", "bob")
	step("", "", "")
	step("two,carol,3\n", "", "carol")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	settle(t.Context(), a)
	want(t, names(t, s, "one", "two"), "", "carol")
	step("one,dave,4\n", "dave", "")
}

func TestReloadThroughSymlink(t *testing.T) {
	// A mounted Secret is replaced by turning a symbolic link.
	dir := t.TempDir()
	link, path := filepath.Join(dir, "..data"), filepath.Join(dir, "..data", "tokens.csv")
	for n, content := range []string{"one,alice,1\n", "one,bobby,1\n"} {
		version := filepath.Join(dir, string(rune('a'+n)))
		if err := os.Mkdir(version, 0o700); err != nil {
			t.Fatal(err)
		}
		rewrite(t, filepath.Join(version, "tokens.csv"), content)
	}
	turn := func(version string) {
		t.Helper()
		if err := os.Symlink(version, link+"_tmp"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link+"_tmp", link); err != nil {
			t.Fatal(err)
		}
	}
	turn("a")
	a := newAuthenticator(t, Config{TokenAuthFile: path})
	s := serve(t, a)
	want(t, names(t, s, "one"), "alice")
	turn("b")
	settle(t.Context(), a)
	want(t, names(t, s, "one"), "bobby")
}

type listener struct{ called atomic.Int32 }

func (l *listener) Enqueue() { l.called.Add(1) }

func TestClientCAReload(t *testing.T) {
	first, second := certs.NewCA(t, "first"), certs.NewCA(t, "second")
	path := writeFile(t, "ca.pem", first.PEM())
	a := newAuthenticator(t, Config{ClientCAFile: path})
	heard := &listener{}
	a.clientCA.AddListener(heard)
	s := serve(t, a)
	old, young := client(t, first, nil), client(t, second, nil)
	step := func(content string, oldCode, youngCode int) {
		t.Helper()
		rewrite(t, path, content)
		settle(t.Context(), a)
		for n, cert := range []struct{ got, want int }{
			{s.code(t, old), oldCode}, {s.code(t, young), youngCode},
		} {
			if cert.got != cert.want {
				t.Errorf("certificate %d: got %d, want %d", n, cert.got, cert.want)
			}
		}
	}
	step(first.PEM()+second.PEM(), http.StatusOK, http.StatusOK)
	step("broken", http.StatusOK, http.StatusOK)
	step(second.PEM(), http.StatusUnauthorized, http.StatusOK)
	if got := string(a.ClientCA().CurrentCABundleContent()); got != second.PEM() {
		t.Errorf("the provider for TLS holds %q", got)
	}
	if got := heard.called.Load(); got != 2 {
		t.Errorf("the TLS listener was told %d times, want 2", got)
	}
}

func TestConfigReload(t *testing.T) {
	one, two := newTestIssuer(t), newTestIssuer(t)
	path := writeFile(t, "authn.yaml", configOf("v1", one.entry(plainMappings)))
	a := newAuthenticator(t, Config{AuthenticationConfigFile: path})
	ready(t, a)
	s := serve(t, a)
	tokens := []string{one.token(t, "RS256", nil), two.token(t, "ES256", nil)}
	step := func(content, first, second string) {
		t.Helper()
		rewrite(t, path, content)
		settle(t.Context(), a)
		want(t, names(t, s, tokens...), first, second)
	}
	want(t, names(t, s, tokens...), "oidc:alice", "")
	// No gap: the new issuers are ready when the reload takes effect.
	two.slow.Store(true)
	step(configOf("v1", one.entry(plainMappings), two.entry(plainMappings)), "oidc:alice", "oidc:alice")
	step(configOf("v1", one.entry(plainMappings))+"surprise: 1\n", "oidc:alice", "oidc:alice")
	// A removed issuer is not remembered by the cache.
	step(configOf("v1", two.entry(plainMappings)), "", "oidc:alice")
	step(configOf("v1", " []\n"), "", "")
}

func TestReloadTakesAnIssuerAwayWhileAnotherIsDown(t *testing.T) {
	one, down := newTestIssuer(t), newTestIssuer(t)
	down.down.Store(true)
	path := writeFile(t, "authn.yaml", configOf("v1", one.entry(plainMappings)))
	a := newAuthenticator(t, Config{AuthenticationConfigFile: path})
	a.issuers.grace = time.Millisecond
	ready(t, a)
	s := serve(t, a)
	token := one.token(t, "RS256", nil)
	want(t, names(t, s, token), "oidc:alice")
	rewrite(t, path, configOf("v1", down.entry(plainMappings)))
	settle(t.Context(), a)
	want(t, names(t, s, token), "")
}
