// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// A sidecar is in every Pod: it links no Kubernetes libraries, whose size and requests it does not need.
func TestNoKubernetesLibraries(t *testing.T) {
	t.Parallel()
	command := exec.CommandContext(t.Context(), "go", "list", "-deps", "./cmd/secret-agent")
	command.Dir = harness.Root(t)
	out, err := command.Output()
	if err != nil || !strings.Contains(string(out), "pkg/decrypt/client\n") {
		t.Fatalf("%s, %v", out, err)
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "k8s.io/") {
			t.Errorf("links %s", line)
		}
	}
}

// A core is the memory of the process, values included, in a file.
func TestNoCoreIsDumped(t *testing.T) {
	s := start(t)
	s.create(t, "a", s.canary())
	unlimited := syscall.Rlimit{Cur: 1 << 40, Max: 1 << 40}
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &unlimited); err != nil {
		t.Logf("cores are limited from outside, so that none is dumped anyway: %v", err)
	}
	a := s.command(t, "serve", "--file=a=a")
	a.command.Dir, a.command.Env = t.TempDir(), append(a.command.Environ(), "GOTRACEBACK=crash")
	a.command.Args = withoutTimeout(a.command.Args)
	a.start(t)
	s.has(t, "a", s.canaries[0])
	if err := a.command.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	code := a.end(t)
	if status := a.command.ProcessState.Sys().(syscall.WaitStatus); code != -int(syscall.SIGABRT) || status.CoreDump() {
		t.Errorf("exit code %d, core dumped: %t", code, status.CoreDump())
	}
	if !strings.Contains(a.output(), "SIGABRT: abort") {
		t.Errorf("no stacks, which are searched: %s", a.output())
	}
}

// The version comes from the flags of the linker that releases have.
func TestVersion(t *testing.T) {
	t.Parallel()
	flags, err := exec.CommandContext(t.Context(), harness.Root(t)+"/hack/version-ldflags.sh").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(flags), "pkg/agent.version=")
	want, _, _ := strings.Cut(rest, " ")
	command := exec.CommandContext(t.Context(), "go", "run", "-buildvcs=false", "-ldflags", strings.TrimSpace(string(flags)), "./cmd/secret-agent", "--version")
	command.Dir = harness.Root(t)
	out, err := command.CombinedOutput()
	if err != nil || want == "" || string(out) != "secret-agent version "+want+"\n" {
		t.Errorf("%s, %v, want %q", out, err, want)
	}
}
