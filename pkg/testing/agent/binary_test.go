// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

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
