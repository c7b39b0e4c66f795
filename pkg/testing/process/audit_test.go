// SPDX-License-Identifier: Apache-2.0

package process

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
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

// An operator's way: a sound log exits with 0 and says what it holds, any other with 1 and one line of error.
func TestAuditVerify(t *testing.T) {
	dir := t.TempDir()
	c := audit.NewConfig()
	c.Path, c.KeyFile, c.GenerateKey, c.Instance = filepath.Join(dir, "log", "decrypt.log"), filepath.Join(dir, "key"), true, "pod-0"
	log, err := audit.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	err = log.Record(t.Context(), audit.Record{User: "k6", Namespace: "default", Name: "api-key", Decision: audit.Allow, Reason: audit.ReasonGranted})
	if err != nil {
		t.Fatal(err)
	}
	head := log.Head().String()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	got := output(t, "audit", "verify", "--key-file", c.KeyFile, "--head", head, filepath.Dir(c.Path))
	if !strings.Contains(got, "The log verifies: 2 lines in 1 files.") || !strings.Contains(got, head) {
		t.Errorf("printed\n%s", got)
	}

	text := strings.Replace(string(harness.ReadFile(t, c.Path)), "k6", "me", 1)
	if err := os.WriteFile(c.Path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	refusal, code := harness.Fail(t, "audit", "verify", "--key-file", c.KeyFile, c.Path)
	want := "error: the log does not verify: " + c.Path + ":2: sequence 2: the MAC does not match the line: it was edited; "
	if code != 1 || !strings.HasPrefix(refusal, want) || strings.Count(refusal, "\n") != 1 {
		t.Errorf("exit code %d, printed\n%s, want 1 and\n%s", code, refusal, want)
	}
}
