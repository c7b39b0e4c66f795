// SPDX-License-Identifier: Apache-2.0

package process

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

func output(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), harness.Binary(t), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("secret-apiserver %v: %v\n%s", args, err, out)
	}
	return string(out)
}

// A change of any flag shows in the golden file, and is looked at there.
func TestHelp(t *testing.T) {
	help := output(t, "--help")
	wantGolden(t, filepath.Join(harness.Root(t), "pkg", "server", "testdata", "help.txt"), help)
	for _, name := range []string{
		"standalone", "data-dir", "bind-address", "secure-port", "etcd-servers", "encryption-provider-config",
		"encryption-provider-config-automatic-reload", "token-auth-file", "client-ca-file", "authentication-config",
		"rbac-dir", "allowed-decrypters", "audit-log-path", "audit-policy-file", "v",
	} {
		if !regexp.MustCompile(`(?m)^ +(-\w, )?--` + name + ` `).MatchString(help) {
			t.Errorf("--help does not list --%s", name)
		}
	}
	for _, text := range []string{"feature gate", "[Alpha]", "DEPRECATED"} {
		if strings.Contains(help, text) {
			t.Errorf("--help lists a flag that is not honoured: %q", text)
		}
	}
	if short := output(t, "-h"); short != help {
		t.Error("-h and --help differ")
	}
}

func TestVersion(t *testing.T) {
	if got := output(t, "--version"); !regexp.MustCompile(`^secret-apiserver version v\S+ \(Kubernetes libraries v\S+\)\n$`).MatchString(got) {
		t.Errorf("--version printed %q", got)
	}
}
