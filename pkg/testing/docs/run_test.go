// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// runPages are the pages whose marked blocks are run here, each in its own clone.
var runPages = []string{
	"README.md", "docs/getting-started.md", "docs/decrypt.md",
	"docs/examples/curl/README.md", "docs/examples/gitops/README.md",
}

// serverBefore is the server of a page that starts it by a command which would build and take the fixed ports.
var serverBefore = map[string]string{
	"README.md": "make --silent --old-file=build run ARGS='--secure-port=0 --decrypt-port=auto'",
}

// secrets are the values that the pages store. A command may print one only where its page says so.
var secrets = []string{
	"secret-api-key-12345", "new-value-12345", "hunter2-for-load-tests",
	"first-value-of-curl", "second-value-of-curl",
	"first-of-the-key", "second-of-the-key",
	"first-of-the-login", "second-of-the-login", "first-of-the-token", "second-of-the-token",
}

// The commands of a page work as they stand, in order, in a fresh folder.
func TestPagesRun(t *testing.T) {
	programs := builtPrograms(t)
	for _, page := range runPages {
		t.Run(page, func(t *testing.T) {
			t.Parallel() // most of the time is waiting for kubectl
			blocks, err := Parse(read(t, filepath.Join(harness.Root(t), page)))
			if err != nil {
				t.Fatal(err)
			}
			c := newClone(t, page, programs)
			if command := serverBefore[page]; command != "" {
				c.serve(t, command)
			}
			ran := 0
			for _, b := range blocks {
				switch b.Mark {
				case "tested":
					c.Run(t, b)
					ran++
				case "tested: server":
					c.serve(t, strings.TrimSpace(b.Text)+" --secure-port=0 --decrypt-port=auto")
				}
			}
			if ran == 0 {
				t.Error("the page has no block that is run")
			}
			server := &harness.Server{DataDir: filepath.Join(c.Dir, "data"), LogFile: c.serverLog, OutFile: c.serverOut}
			server.Leaks(t, secrets...)
		})
	}
}

// builtPrograms are those that `make build` makes and a page uses, and kubectl.
func builtPrograms(t *testing.T) map[string]string {
	t.Helper()
	plugin := filepath.Join(harness.Root(t), "bin", "test", "kubectl-securevalue")
	command(t, harness.Root(t), "go", "build", "-o", plugin, "./cmd/kubectl-securevalue")
	return map[string]string{
		"secret-apiserver": harness.Binary(t), "kubectl": harness.KubectlBinary(t), "kubectl-securevalue": plugin,
	}
}

// clone is a terminal and the server that its page starts.
type clone struct {
	*Terminal
	serverOut, serverLog string
}

func newClone(t *testing.T, page string, programs map[string]string) *clone {
	t.Helper()
	c := &clone{Terminal: NewTerminal(t, page, programs)}
	c.Secrets = secrets
	aside := t.TempDir()
	c.serverOut, c.serverLog = filepath.Join(aside, "server.out"), filepath.Join(aside, "server.log")
	return c
}

var (
	api     = regexp.MustCompile(`(?m)^  API +https://(\S+)`)
	decrypt = regexp.MustCompile(`(?m)^  decrypt +https://(\S+)`)
)

// serve starts a server that runs until the test ends, and waits for its banner.
func (c *clone) serve(t *testing.T, text string) {
	t.Helper()
	out, log := createFile(t, c.serverOut), createFile(t, c.serverLog)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the server's log:\n%s", harness.ReadFile(t, c.serverLog))
		}
	})
	c.Start(t, exec.CommandContext(t.Context(), "bash", "-c", "exec "+text), out, log)
	var banner string
	eventually(t, func() bool {
		banner = string(harness.ReadFile(t, c.serverOut))
		return decrypt.MatchString(banner) && api.MatchString(banner)
	}, func() string {
		return "the server printed no banner:\n" + banner + string(harness.ReadFile(t, c.serverLog))
	})
	c.Addresses = strings.NewReplacer("127.0.0.1:8443", api.FindStringSubmatch(banner)[1],
		"127.0.0.1:8444", decrypt.FindStringSubmatch(banner)[1])
}
