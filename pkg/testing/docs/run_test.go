// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// patience bounds every wait; it is no claim about speed.
const patience = 90 * time.Second

// runPages are the pages whose marked blocks are run, each in a clone of its own.
var runPages = []string{"README.md", "docs/getting-started.md", "docs/decrypt.md"}

// serverBefore is the server of a page that starts it by a command which would build and take the fixed ports.
var serverBefore = map[string]string{
	"README.md": "make --silent --old-file=build run ARGS='--secure-port=0 --decrypt-port=auto'",
}

// secrets are the values that the pages store. A command may print one only where its page says so.
var secrets = []string{"secret-api-key-12345", "new-value-12345", "hunter2-for-load-tests"}

// The commands of a page work as they stand, in order, in a fresh folder.
func TestPagesRun(t *testing.T) {
	programs := builtPrograms(t)
	for _, page := range runPages {
		t.Run(page, func(t *testing.T) {
			t.Parallel() // most of the time is waiting for kubectl
			blocks, err := parse(read(t, filepath.Join(harness.Root(t), page)))
			if err != nil {
				t.Fatal(err)
			}
			c := newClone(t, programs)
			if command := serverBefore[page]; command != "" {
				c.serve(t, command)
			}
			ran := 0
			for _, b := range blocks {
				switch b.Mark {
				case "tested":
					c.run(t, page, b)
					ran++
				case "tested: server":
					c.serve(t, strings.TrimSpace(b.Text)+" --secure-port=0 --decrypt-port=auto")
				}
			}
			if ran == 0 {
				t.Error("the page has no block that is run")
			}
			// The banner has the sample of the README, value and all; it is printed before there is any other.
			server := &harness.Server{DataDir: filepath.Join(c.dir, "data"), LogFile: c.serverLog}
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

// clone is a folder that looks like this repository after `make build`.
type clone struct {
	dir, state           string
	serverOut, serverLog string
	ports                *strings.Replacer
	environment          []string
}

func newClone(t *testing.T, programs map[string]string) *clone {
	t.Helper()
	dir, aside := t.TempDir(), t.TempDir()
	c := &clone{
		dir: dir, state: filepath.Join(aside, "state"), ports: strings.NewReplacer(),
		serverOut: filepath.Join(aside, "server.out"), serverLog: filepath.Join(aside, "server.log"),
	}
	root := harness.Root(t)
	for _, folder := range []string{"config", "docs/examples", "pkg"} {
		if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum", "Makefile"} {
		harness.WriteFile(t, filepath.Join(dir, file), read(t, filepath.Join(root, file)))
	}
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, file := range programs {
		if err := os.Symlink(file, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	// The home folder is an empty one, so that nothing of the machine's helps; the Go caches stay.
	c.environment = []string{"HOME=" + aside, "PATH=" + bin + ":" + os.Getenv("PATH"), "TERM=dumb"}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOPROXY", "GOTOOLCHAIN"} {
		c.environment = append(c.environment, name+"="+command(t, root, "go", "env", name))
	}
	return c
}

// run runs a block by bash. Variables that earlier blocks set are there, as in one terminal; the first failure ends it.
func (c *clone) run(t *testing.T, page string, b block) {
	t.Helper()
	file := c.state + ".out"
	out, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	before := len(harness.ReadFile(t, file))
	printed := func() string { return string(harness.ReadFile(t, file)[before:]) }

	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	script := "set -o errexit -o pipefail -o allexport\n[[ ! -e " + c.state + " ]] || . " + c.state + "\n" +
		c.ports.Replace(b.Text) + "\nexport -p >" + c.state + "\n"
	if err := c.start(t, exec.CommandContext(ctx, "bash", "-c", script), out, out).Wait(); err != nil {
		t.Fatalf("%s:%d: %v\n%s\nprinted\n%s", page, b.Line, err, b.Text, printed())
	}
	for _, want := range b.Want {
		eventually(t, func() bool { return strings.Contains(printed(), want) }, func() string {
			return page + ": the block printed no line with " + want + " but\n" + printed()
		})
	}
	for _, secret := range secrets {
		if strings.Contains(printed(), secret) && !strings.Contains(strings.Join(b.Want, "\n"), secret) {
			t.Errorf("%s:%d: the block printed the value %q", page, b.Line, secret)
		}
	}
}

var (
	api     = regexp.MustCompile(`(?m)^  API +https://(\S+)`)
	decrypt = regexp.MustCompile(`(?m)^  decrypt +listens on (\S+)`)
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
	c.start(t, exec.CommandContext(t.Context(), "bash", "-c", "exec "+text), out, log)
	var banner string
	eventually(t, func() bool {
		banner = string(harness.ReadFile(t, c.serverOut))
		return decrypt.MatchString(banner) && api.MatchString(banner)
	}, func() string {
		return "the server printed no banner:\n" + banner + string(harness.ReadFile(t, c.serverLog))
	})
	c.ports = strings.NewReplacer("127.0.0.1:8443", api.FindStringSubmatch(banner)[1],
		"127.0.0.1:8444", decrypt.FindStringSubmatch(banner)[1])
}

// start starts a program in a process group of its own, which ends with the test.
func (c *clone) start(t *testing.T, cmd *exec.Cmd, out, log io.Writer) *exec.Cmd {
	t.Helper()
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.environment, out, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	group := -cmd.Process.Pid
	t.Cleanup(func() {
		_ = syscall.Kill(group, syscall.SIGKILL) // there may be nobody left
		_ = cmd.Wait()
	})
	return cmd
}
