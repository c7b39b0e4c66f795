// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

func TestFetch(t *testing.T) {
	t.Parallel()
	s := start(t)
	key, lines := s.create(t, "web-key", s.canary()), s.create(t, "lines", s.canary()+"\nsecond \"$x\" `y` \\n\n")
	args := []string{"--file=tls/key.pem=web-key", "--file=again=web-key", "--env=LINES=lines", "--env-file=app.env", "--mode=0444"}
	out, code := s.fetch(t, args...)
	if code != 0 || !strings.Contains(out, "is not in memory") {
		t.Fatalf("exit code %d: %s", code, out)
	}
	for path, want := range map[string]string{"tls/key.pem": key, "again": key, "app.env": "LINES='" + lines + "'\n"} {
		info, err := os.Stat(filepath.Join(s.dir, path))
		if got := s.file(t, path); err != nil || got != want || info.Mode() != 0o444 {
			t.Errorf("%s: %q, %v, %v", path, got, info, err)
		}
	}
	before, _ := os.Readlink(filepath.Join(s.dir, "..data"))
	for name, test := range map[string]struct {
		create string
		args   []string
		want   string
	}{
		"unknown name": {"", []string{"--file=a=web-key", "--file=b=absent"}, "secure value default/absent: not found"},
		"single quote": {s.canary() + "'", []string{"--env=A=bad", "--env-file=e"}, "secure value bad: an env file cannot hold a single quote; use --file"},
		"carriage":     {s.canary() + "\r\nx", []string{"--env=A=bad", "--env-file=e"}, "carriage return"},
		"nothing":      {"", nil, "nothing to do"},
		"no file":      {"", []string{"--env=A=web-key"}, "--env and --env-file go together"},
		"two names":    {"", []string{"--file=a=web-key", "--file=a=lines"}, "path a is used twice"},
		"outside":      {"", []string{"--file=../a=web-key"}, "must be relative, must not leave the directory"},
		"an argument":  {"", []string{"s3cr3t"}, "fetch takes no arguments"},
		"no CA file":   {"", []string{"--file=a=web-key", "--ca-file=/nowhere"}, "--ca-file: stat /nowhere: no such file or directory; `kubectl securevalue grant`"},
		"plain HTTP":   {"", []string{"--file=a=web-key", "--server=http://127.0.0.1:1"}, "is not https"},
		"no token":     {"", []string{"--file=a=web-key", "--token-file=" + s.CAFile}, "does not contain a token and nothing else"},
	} {
		if test.create != "" {
			s.create(t, "bad", test.create)
		}
		out, code := s.fetch(t, test.args...)
		if code != 1 || !strings.Contains(out, test.want) || strings.Contains(out, "s3cr3t") || strings.Count(out, "\n") > 2 {
			t.Errorf("%s: exit code %d: %s", name, code, out)
		}
		if test.create != "" {
			s.Do(t, harness.Request{Method: "DELETE", Path: harness.Collection("default") + "/bad", Token: s.AdminToken}).Want(t, 200)
		}
		if _, err := os.Stat(filepath.Join(s.dir, "b")); err == nil {
			t.Errorf("%s: a file of the set exists", name)
		}
		if after, _ := os.Readlink(filepath.Join(s.dir, "..data")); after != before {
			t.Fatalf("%s: files were written", name)
		}
	}
}

// jwtOf is a token of ServiceAccount shop/checkout that no server knows.
func jwtOf(t *testing.T, audience string, expires time.Duration) string {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"aud": []string{audience}, "exp": time.Now().Add(expires).Unix(), "sub": "system:serviceaccount:shop:checkout",
	}).SignedString([]byte("a key that this server does not know"))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// TestFetchExplains: what a refusal says leads to the command or the setting that helps.
func TestFetchExplains(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.create(t, "a", s.canary())
	s.Create(t, "default", "of-others", s.canary(), "synthetic-monitoring")
	token := func(audience string, expires time.Duration) string {
		file := filepath.Join(t.TempDir(), "token")
		harness.WriteFile(t, file, jwtOf(t, audience, expires))
		return "--token-file=" + file
	}
	nobody := filepath.Join(t.TempDir(), "nobody")
	harness.WriteFile(t, nobody, "token-of-nobody")
	ca := filepath.Join(t.TempDir(), "ca.crt")
	harness.WriteFile(t, ca, certs.NewCA(t, "another").PEM())
	silent := harness.Listen(t) // accepts connections and never answers
	for name, test := range map[string]struct {
		arg, want string
	}{
		"no right":      {"--token-file=" + nobody, "to give this caller permission, run: secret-apiserver grant SERVICE --decrypter DECRYPTER --namespace default"},
		"no decrypter":  {"--file=b=of-others", "secure value default/of-others: not found (a name that is not found does not exist in namespace default, or"},
		"audience":      {token("https://kubernetes.default.svc", time.Hour), `is issued for audience ["https://kubernetes.default.svc"]; a projected serviceAccountToken needs audience secret.grafana.app`},
		"expired":       {token("secret.grafana.app", -time.Hour), "expired at 20"},
		"unknown token": {token("secret.grafana.app", time.Hour), "the server does not know the token"},
		"CA":            {"--ca-file=" + ca, ca + " does not have the CA of https://127.0.0.1:"},
		"nobody there":  {"--server=https://" + harness.FreeAddress(t), "is the server running, and"},
		"no such host":  {"--server=https://secret-decrypt.secret-system.invalid:8444", "the host of --server is unknown"},
		"no answer":     {"--server=https://" + silent.Addr().String(), "kubectl label namespace NAMESPACE secret.grafana.app/decrypt=allowed"},
	} {
		out, code := s.fetch(t, "--file=a=a", "--timeout=3s", test.arg)
		if code != 1 || !strings.Contains(out, test.want) || strings.Contains(out, "unavailable: unavailable") {
			t.Errorf("%s: exit code %d: %s", name, code, out)
		}
		if entries, err := os.ReadDir(s.dir); err != nil || len(entries) > 0 {
			t.Fatalf("%s: wrote %v, %v", name, entries, err)
		}
	}
}

// TestFetchWaitsForTheServer starts before the server and its token are there.
func TestFetchWaitsForTheServer(t *testing.T) {
	t.Parallel()
	s := start(t)
	value := s.create(t, "a", s.canary())
	s.Signal(t, syscall.SIGSTOP)
	a := s.command(t, "fetch", "--file=a=a").start(t)
	harness.Eventually(t, "the agent says that it retries", func() bool { return strings.Contains(a.output(), "retrying: ") })
	s.Signal(t, syscall.SIGCONT)
	if code := a.end(t); code != 0 || s.file(t, "a") != value {
		t.Errorf("exit code %d: %s", code, a.output())
	}
}

func TestFetchManyNames(t *testing.T) {
	t.Parallel()
	s := start(t)
	var args []string
	for i := range 500 {
		name := fmt.Sprintf("n-%d", i)
		s.create(t, name, s.canary())
		args = append(args, fmt.Sprintf("--file=%s=%s", name, name))
	}
	if out, code := s.fetch(t, args...); code != 0 {
		t.Fatalf("exit code %d: %s", code, out)
	}
	for i, want := range s.canaries {
		if got := s.file(t, fmt.Sprintf("n-%d", i)); got != want {
			t.Errorf("n-%d is not its value", i)
		}
	}
	first, second := s.create(t, "a", s.canary()), s.canary()
	a := s.serve(t, append(args, "--file=a=a")...)
	s.has(t, "a", first)
	s.write(t, second)
	s.has(t, "a", second)
	a.stop(t)
}

// TestFetchIntoAFullVolume: the files are those from before.
func TestFetchIntoAFullVolume(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.mount(t)
	value := s.create(t, "a", s.canary())
	s.create(t, "b", strings.Repeat(s.canary(), 600))
	if out, code := s.fetch(t, "--file=a=a"); code != 0 || out != "" {
		t.Fatalf("exit code %d: %s", code, out)
	}
	out, code := s.fetch(t, "--file=a=b", "--file=b=b")
	if code != 1 || !strings.Contains(out, "no space left on device") || s.file(t, "a") != value {
		t.Errorf("exit code %d: %s", code, out)
	}
	s.remount(t, syscall.MS_RDONLY)
	out, code = s.fetch(t, "--file=a=b")
	if code != 1 || !strings.Contains(out, "read-only file system") || s.file(t, "a") != value {
		t.Errorf("exit code %d: %s", code, out)
	}
}

// mount makes --dir a small volume in memory.
func (s *suite) mount(t *testing.T) {
	t.Helper()
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", s.dir, "tmpfs", 0, "size=32k"); err != nil {
		t.Skipf("mounting needs root: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(s.dir, syscall.MNT_DETACH) })
}

func (s *suite) remount(t *testing.T, flags uintptr) {
	t.Helper()
	if err := syscall.Mount("", s.dir, "", syscall.MS_REMOUNT|flags, ""); err != nil {
		t.Fatal(err)
	}
}
