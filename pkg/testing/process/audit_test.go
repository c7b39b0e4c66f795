// SPDX-License-Identifier: Apache-2.0

package process

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// The command has its own help, without the flags of the server.
func TestAuditVerifyHelp(t *testing.T) {
	golden := filepath.Join(harness.Root(t), "pkg", "tools", "auditlog", "testdata", "help.txt")
	wantGolden(t, golden, output(t, "audit", "verify", "--help"))
	if got := output(t, "help", "audit", "verify"); got != output(t, "audit", "verify", "-h") {
		t.Errorf("help audit verify printed\n%s", got)
	}
	if got := output(t, "audit"); !strings.Contains(got, "verify ") || strings.Contains(got, "--vmodule") {
		t.Errorf("audit alone printed\n%s", got)
	}
}
