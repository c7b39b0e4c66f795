// SPDX-License-Identifier: Apache-2.0

package decryptclient

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// programs are those of docs/examples/programs, and the Debian packages that run them.
var programs = []struct{ command, file, debian string }{
	{"python3", "follow.py", "python3"},
	{"node", "follow.mjs", "nodejs"},
	{"java", "Follow.java", "default-jdk-headless"},
}

// program is one of them, running.
type program struct {
	name           string
	ca, token, log string // files
	read           int    // bytes of log
}

func (s *suite) startProgram(t *testing.T, url, command, file, debian string) *program {
	t.Helper()
	path, err := exec.LookPath(command)
	if err != nil {
		t.Fatalf("%v: install the Debian package %s, as hack/tools.txt says", err, debian)
	}
	dir := t.TempDir()
	p := &program{file, filepath.Join(dir, "ca.crt"), filepath.Join(dir, "token"), filepath.Join(dir, "log"), 0}
	harness.WriteFile(t, p.ca, certs.NewCA(t, "another").PEM())
	harness.WriteFile(t, p.token, "token-that-nobody-has")
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, file, "--decrypt", url, "--ca", p.ca, "--token-file", p.token, "login", "late")
	cmd.Dir = filepath.Join(harness.Root(t), "docs", "examples", "programs")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
		text := harness.ReadFile(t, p.log)
		if found := harness.Find(text, s.canaries...); len(found) > 0 {
			t.Errorf("%s printed %s", file, found)
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", file, text)
		}
	})
	return p
}

// says waits until the program prints a text after the one before.
func (p *program) says(t *testing.T, text string) {
	t.Helper()
	harness.Eventually(t, p.name+" prints "+text, func() bool {
		now := string(harness.ReadFile(t, p.log))[p.read:]
		at := strings.Index(now, text)
		if at >= 0 {
			p.read += at + len(text)
		}
		return at >= 0
	})
}

// TestPrograms is the table of docs/examples/programs/README.md, with all programs and one server.
func TestPrograms(t *testing.T) {
	s := start(t)
	length := len(s.create(t, "login", "k6-cloud"))
	var running, others []*program
	silent := "https://" + harness.Listen(t).Addr().String() // accepts connections and never answers
	for _, p := range programs {
		running = append(running, s.startProgram(t, s.DecryptURL, p.command, p.file, p.debian))
		if p.command != "java" { // whose handshake has the timeout of the stream
			others = append(others, s.startProgram(t, silent, p.command, p.file, p.debian))
		}
	}
	say := func(text func(p *program) string) {
		t.Helper()
		for _, p := range running {
			p.says(t, text(p))
		}
	}
	wantLength := func(name string, length int) {
		t.Helper()
		say(func(*program) string { return fmt.Sprintf("%s: connected with a password of %d bytes\n", name, length) })
	}
	give := func(token string) {
		t.Helper()
		for _, p := range running {
			harness.WriteFile(t, p.token, token)
		}
	}

	say(func(p *program) string {
		return p.ca + " does not have the CA of " + s.DecryptURL + ": mount ConfigMap secret-ca"
	})
	for _, p := range running {
		harness.WriteFile(t, p.ca, string(harness.ReadFile(t, s.CAFile)))
	}
	say(func(p *program) string {
		return "does not accept the token in " + p.token + ": it must be issued for audience secret.grafana.app"
	})
	give(otherToken)
	say(func(*program) string {
		return "not authorized in namespace default: an administrator gives permission by `kubectl securevalue grant`"
	})
	give(k6Token)
	say(func(*program) string {
		return "late: not found: it does not exist in namespace default, or is not granted"
	})
	s.create(t, "late", "k6-cloud")
	wantLength("late", length)
	say(func(*program) string { return "ready\n" })

	const odd = "\"'\\\n\r\t$x `y` ü \U0001F511 {}"
	s.writeValue(t, s.secret().Expose()+odd)
	wantLength("login", length+len(odd))

	s.restart(t, func() { say(func(*program) string { return "retrying " + s.DecryptURL }) })
	harness.Eventually(t, "all streams are back", func() bool {
		return s.Metric(t, "secret_decrypt_watches") == float64(len(running))
	})
	s.write(t, 1)
	wantLength("login", length+1)

	tokens := string(harness.ReadFile(t, s.TokenFile))
	give("token-of-k6-renewed")
	harness.WriteFile(t, s.TokenFile, strings.Replace(tokens, k6Token, "token-of-k6-renewed", 1))
	s.wantCode(t, k6Token, 401)
	s.write(t, 2)
	wantLength("login", length+2)

	grant := filepath.Join(s.RBACDir, "test-0.yaml")
	manifest := string(harness.ReadFile(t, grant))
	harness.WriteFile(t, grant, "")
	s.wantCode(t, "token-of-k6-renewed", 403)
	s.write(t, 3)
	say(func(*program) string { return "login: not found" })
	harness.WriteFile(t, grant, manifest)
	s.wantCode(t, "token-of-k6-renewed", 200)
	s.write(t, 4)
	wantLength("login", length+4)

	for _, p := range others { // the pauses above take longer than the 10 s for an answer
		if !strings.Contains(string(harness.ReadFile(t, p.log)), "retrying "+silent) {
			t.Errorf("%s waits for a server that does not answer", p.name)
		}
	}
	for _, p := range running {
		text := string(harness.ReadFile(t, p.log))
		if n := strings.Count(text, "login: connected"); n != 5 || strings.Count(text, "ready\n") != 1 {
			t.Errorf("%s connected %d times, want once per value", p.name, n)
		}
	}
	s.Stop(t)
	s.wantReleases(t, "login", 5*len(running))
	s.Leaks(t, s.canaries...)
}

// wantCode waits until a decrypt with a token gets a code.
func (s *suite) wantCode(t *testing.T, token string, code int) {
	t.Helper()
	harness.Eventually(t, fmt.Sprintf("%s gets %d", token, code), func() bool {
		return s.Decrypt(t, token, "default", "late").Code == code
	})
}

// wantReleases wants as many releases of a name in the audit log.
func (s *suite) wantReleases(t *testing.T, name string, want int) {
	t.Helper()
	got := 0
	for line := range strings.Lines(string(harness.ReadFile(t, filepath.Join(s.DataDir, "decrypt-audit", "decrypt.log")))) {
		var record struct{ Kind, Name, Decision string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if record.Kind != "watch" && record.Name == name && record.Decision == "allow" {
			got++
		}
	}
	if got != want {
		t.Errorf("%d releases of %s, want %d: a program fetches each new value once", got, name, want)
	}
}
