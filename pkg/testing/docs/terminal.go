// SPDX-License-Identifier: Apache-2.0

package docs

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// patience bounds every wait; not a claim about speed.
const patience = 90 * time.Second

// Terminal runs the blocks of one page, as a person does who pastes them one after the other.
type Terminal struct {
	// Page names the page in complaints.
	Page string
	// Dir is where the commands run: a folder that looks like a clone of this repository after `make build`.
	Dir string
	// Environment of the commands; nothing else of the test's is in it.
	Environment []string
	// Addresses puts the real addresses into the place of those that a page names; nil changes nothing.
	Addresses *strings.Replacer
	// Secrets are the values that the page stores. A command may print one only where its page says so.
	Secrets []string

	aside string
}

// NewTerminal makes such a folder, with programs (name → file) in its bin.
func NewTerminal(t testing.TB, page string, programs map[string]string) *Terminal {
	t.Helper()
	c := &Terminal{Page: page, Dir: t.TempDir(), aside: t.TempDir()}
	root := harness.Root(t)
	for _, folder := range []string{"config", "docs/examples", "pkg"} {
		if err := os.CopyFS(filepath.Join(c.Dir, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"go.mod", "go.sum", "Makefile"} {
		harness.WriteFile(t, filepath.Join(c.Dir, file), string(harness.ReadFile(t, filepath.Join(root, file))))
	}
	bin := filepath.Join(c.Dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, file := range programs {
		if err := os.Symlink(file, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	// The home folder is an empty one, so that nothing of the machine's helps; the Go caches stay.
	c.Environment = []string{"HOME=" + c.aside, "PATH=" + bin + ":" + os.Getenv("PATH"), "TERM=dumb"}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOFLAGS", "GOPROXY", "GOTOOLCHAIN"} {
		c.Environment = append(c.Environment, name+"="+goEnv(t, root, name))
	}
	return c
}

func goEnv(t testing.TB, dir, name string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "env", name) //nolint:gosec // a name of ours
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go env %s: %v", name, err)
	}
	return strings.TrimSpace(string(out))
}

// Run runs a block by bash. Variables and functions that earlier blocks set are there, as in one terminal; the first
// failure ends the test, and a line that the page shows and that is not printed does too.
func (c *Terminal) Run(t testing.TB, b Block) {
	t.Helper()
	file, state := filepath.Join(c.aside, "out"), filepath.Join(c.aside, "state")
	out, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // a file of the test
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	before := len(harness.ReadFile(t, file))
	printed := func() string { return string(harness.ReadFile(t, file)[before:]) }

	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	script := "set -o errexit -o pipefail -o allexport\n[[ ! -e " + state + " ]] || . " + state + "\n" +
		c.real(b.Text) + "\n{ export -p; declare -f; } >" + state + "\n"
	if err := c.Start(t, exec.CommandContext(ctx, "bash", "-c", script), out, out).Wait(); err != nil { //nolint:gosec // the commands of a page
		t.Fatalf("%s:%d: %v\n%s\nprinted\n%s", c.Page, b.Line, err, b.Text, printed())
	}
	for _, want := range b.Want {
		c.await(t, b, want, printed)
	}
	for _, found := range c.leaks(printed(), b.Want) {
		t.Errorf("%s:%d: the block printed the value %q", c.Page, b.Line, found)
	}
}

func (c *Terminal) real(text string) string {
	if c.Addresses == nil {
		return text
	}
	return c.Addresses.Replace(text)
}

// await waits for a line of a program that goes on in the background.
func (c *Terminal) await(t testing.TB, b Block, want string, printed func() string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !strings.Contains(printed(), want); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s:%d: the block printed no line with %s but\n%s", c.Page, b.Line, want, printed())
		}
	}
}

// leaks are the values in what was printed that the page does not show.
func (c *Terminal) leaks(printed string, shown []string) []string {
	var found []string
	for _, secret := range c.Secrets {
		if strings.Contains(printed, secret) && !strings.Contains(strings.Join(shown, "\n"), secret) {
			found = append(found, secret)
		}
	}
	return found
}

// Start starts a program in its own process group, which ends with the test.
func (c *Terminal) Start(t testing.TB, cmd *exec.Cmd, out, log io.Writer) *exec.Cmd {
	t.Helper()
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.Dir, c.Environment, out, log
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
