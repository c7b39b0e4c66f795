// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
)

// grantTo runs grant or revoke on a data folder.
func grantTo(t *testing.T, command *cobra.Command, dir string, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	command.SetArgs(append(args, "--data-dir="+dir))
	command.SetOut(&out)
	command.SetErr(io.Discard)
	command.SilenceErrors, command.SilenceUsage = true, true
	err := command.Execute()
	return out.String(), err
}

func granted(t *testing.T, dir string, args ...string) string {
	t.Helper()
	out, err := grantTo(t, NewGrantCommand(), dir, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestGrantAndRevoke(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	prepare(t, dir)
	byHand := "0123456789abcdef,\"ci\n2\",ci,\"a,b\""
	if err := os.WriteFile(TokenFile(dir), []byte(byHand), 0o600); err != nil {
		t.Fatal(err)
	}
	out := granted(t, dir, "checkout", "--decrypter=checkout", "--namespace=shop")
	token := read(t, filepath.Join(dir, "tokens", "checkout.token"))
	if strings.Contains(out, token) || !strings.Contains(out, "--allowed-decrypters") {
		t.Errorf("printed %q", out)
	}
	if out := granted(t, dir, "checkout", "--decrypter=k6-cloud", "--namespace=shop"); strings.Contains(out, "--allowed") {
		t.Errorf("a default decrypter: %q", out)
	}
	again := granted(t, dir, "checkout", "--decrypter=checkout", "--namespace=shop")
	if again != out {
		t.Errorf("a second grant prints %q", again)
	}
	want := byHand + "\n" + token + ",checkout,checkout\n"
	if got := read(t, TokenFile(dir)); got != want {
		t.Errorf("tokens.csv is %q, want %q", got, want)
	}
	second := filepath.Join(t.TempDir(), "second")
	granted(t, dir, "checkout", "--decrypter=a.checkout.b", "--namespace=shop", "--token-file="+second)
	if got := read(t, TokenFile(dir)); got != want+read(t, second)+",checkout,checkout\n" {
		t.Errorf("tokens.csv is %q with a second token", got)
	}
	granted(t, dir, "other", "--decrypter=a.checkout.b", "--namespace=shop")

	if _, err := grantTo(t, NewRevokeCommand(), dir, "checkout", "--decrypter=k6-cloud", "--namespace=shop"); err != nil {
		t.Error(err)
	}
	if got := len(manifests(t, dir)); got != 3 {
		t.Errorf("%d manifests after one of four was revoked", got)
	}
	if _, err := grantTo(t, NewRevokeCommand(), dir, "checkout"); err != nil {
		t.Error(err)
	}
	if got := manifests(t, dir); len(got) != 1 || !strings.HasPrefix(got[0], "shop.other.") {
		t.Errorf("manifests left: %q", got)
	}
	got := read(t, TokenFile(dir))
	if strings.Contains(got, "checkout,") || !strings.HasPrefix(got, byHand) || !strings.Contains(got, ",other,other") {
		t.Errorf("tokens.csv is %q after the revocation", got)
	}
	if _, err := grantTo(t, NewRevokeCommand(), dir, "checkout"); err == nil {
		t.Error("revoked twice")
	}
}

func manifests(t *testing.T, dir string) (names []string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(RBACDir(dir), "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		names = append(names, filepath.Base(path))
	}
	return names
}

// A crash after the token file was written, or one that the operator made, is taken up by the next grant.
func TestGrantTakesATokenThatExists(t *testing.T) {
	dir, file := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "token")
	prepare(t, dir)
	if err := os.WriteFile(file, []byte("0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	granted(t, dir, "checkout", "--decrypter=d", "--namespace=n", "--token-file="+file)
	if got := read(t, TokenFile(dir)); got != "0123456789abcdef,checkout,checkout\n" {
		t.Errorf("tokens.csv is %q", got)
	}
	for name, test := range map[string]struct{ want, service, token string }{
		"of another user":  {"belongs to another user", "other", "--token-file=" + file},
		"under no name":    {"has a token in a file of another name", "checkout", "--token-file="},
		"not one token":    {"does not hold one token", "other", "--token-file=" + TokenFile(dir)},
		"in an absent dir": {"no such file", "other", "--token-file=" + filepath.Join(dir, "no", "file")},
	} {
		_, err := grantTo(t, NewGrantCommand(), dir, test.service, "--decrypter=d", "--namespace=n", test.token)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "0123456789") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := manifests(t, dir); len(got) != 1 {
		t.Errorf("refused grants left %q", got)
	}
}

func TestGrantRefusesBadInput(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	prepare(t, dir)
	for want, args := range map[string][]string{
		`SERVICE "A"`:               {"A", "--decrypter=d", "--namespace=n"},
		"is the administrator":      {"admin", "--decrypter=d", "--namespace=n"},
		`--decrypter "a/b"`:         {"a", "--decrypter=a/b", "--namespace=n"},
		`--namespace "../n"`:        {"a", "--decrypter=d", "--namespace=../n"},
		"--decrypter is required":   {"a", "--namespace=n"},
		"--namespace is required":   {"a", "--decrypter=d"},
		"accepts 1 arg(s)":          {"--decrypter=d", "--namespace=n"},
		"line 1 is not token,user,": {"a", "--decrypter=d", "--namespace=n"},
	} {
		if strings.HasPrefix(want, "line 1") {
			if err := os.WriteFile(TokenFile(dir), []byte("canary\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := grantTo(t, NewGrantCommand(), dir, args...)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %v, want %q", args, err, want)
		}
		_ = os.Remove(TokenFile(dir))
	}
	if _, err := grantTo(t, NewGrantCommand(), t.TempDir(), "a", "--decrypter=d", "--namespace=n"); err == nil {
		t.Error("granted in a folder that no server has started on")
	}
	granted(t, dir, "a", "--decrypter=d", "--namespace=n")
	if err := os.WriteFile(filepath.Join(RBACDir(dir), "n.a.d.yaml"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := grantTo(t, NewRevokeCommand(), dir, "a"); err == nil || !strings.Contains(err.Error(), "changed by hand") {
		t.Errorf("revoking a changed manifest: %v", err)
	}
}

// Concurrent grants lose no token.
func TestConcurrentGrants(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	prepare(t, dir)
	var all sync.WaitGroup
	for n := range 8 {
		all.Go(func() {
			if _, err := grantTo(t, NewGrantCommand(), dir, "s"+string(rune('a'+n)), "--decrypter=d", "--namespace=n"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if rows := strings.Count(read(t, TokenFile(dir)), "\n"); rows != 8 || len(manifests(t, dir)) != 8 {
		t.Errorf("%d tokens and %d manifests, want 8", rows, len(manifests(t, dir)))
	}
}
