// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// What clients read before they do anything does not change by accident.
func TestDiscoveryAndOpenAPIAreFrozen(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	for name, path := range map[string]string{
		"discovery.json": "/apis/secret.grafana.app/v1beta1", "openapi-v3.json": "/openapi/v3/apis/secret.grafana.app/v1beta1",
	} {
		var text bytes.Buffer
		if err := json.Indent(&text, get(t, s, path).Body, "", " "); err != nil {
			t.Fatal(err)
		}
		wantGolden(t, filepath.Join("testdata", name), text.String()+"\n")
	}
}

// Scripts read exit codes and standard error.
func TestExitCodesAreFrozen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var table strings.Builder
	for _, line := range []string{
		"--help", "--version", "--no-such-flag", "no-such-command", "--standalone --secure-port=-1",
		"keys", "keys --help", "keys report", "keys check", "keys report x", "keys rotate", "keys report --data-dir=DIR/none",
		"keys report --data-dir=x --etcd-servers=http://127.0.0.1:1", "keys report --etcd-servers=http://127.0.0.1:1",
		"keys report --etcd-servers=https://127.0.0.1:1 --etcd-cafile=absent",
		"keys report --etcd-servers=https://127.0.0.1:1 --etcd-keyfile=x", "keys report --data-dir=x --output=yaml",
		"keys report --data-dir=x --fail-on=old", "keys report --data-dir=x --fail-on=aesgmc/old",
		"keys report --data-dir=x --fail-on=aesgcm/", "keys check --data-dir=x",
		"keys check --data-dir=x --encryption-provider-config=absent",
		"keys retire", "keys retire aesgcm/a --etcd-servers=http://127.0.0.1:1", "keys retire two --data-dir=x",
		"keys retire aes/two --data-dir=x", "keys retire aesgcm/two --data-dir=x --servers=1",
		"audit", "audit verify", "audit verify --key-file=DIR/none DIR", "audit verify --head=x DIR",
		"backup", "backup --to=DIR/b", "backup --data-dir=x", "backup --to=DIR/b --data-dir=DIR/none", "backup everything",
		"backup --data-dir=x --to=y --verify", "backup --etcd-servers=http://127.0.0.1:1 --to=DIR/b",
		"backup verify", "backup verify --from=DIR/none", "backup verify --encryption-provider-config=x",
		"backup verify --from=x --encryption-provider-config=absent",
		"restore", "restore --from=x", "restore --data-dir=x", "restore --from=DIR/none --data-dir=DIR/new",
		"restore --from=x --data-dir=y --verify", "restore --from=x --data-dir=y --etcd-prefix=",
	} {
		_, stderr, code := harness.Tool(t, strings.Fields(strings.ReplaceAll(line, "DIR", dir))...)
		fmt.Fprintf(&table, "%s\n  %d %s\n", line, code, strings.TrimSpace(strings.ReplaceAll(stderr, dir, "DIR")))
	}
	wantGolden(t, filepath.Join("testdata", "exit-codes.txt"), table.String())
}

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
