// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/creack/pty"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// runPlugin runs the plugin as the administrator of a server.
func runPlugin(t *testing.T, s *harness.Server, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	args = append([]string{"--kubeconfig=" + s.Kubeconfig}, args...)
	command := exec.CommandContext(t.Context(), "kubectl-securevalue", args...)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	err = command.Run()
	return out.String(), errs.String(), err
}

// values creates n secure values in a namespace and returns their values.
func values(t *testing.T, s *harness.Server, namespace string, n int) []string {
	t.Helper()
	var canaries []string
	for i := range n {
		canaries = append(canaries, harness.Canary())
		s.Create(t, namespace, fmt.Sprint("value-", i), canaries[i], "k6-cloud")
	}
	return canaries
}

// TestKeys counts values by key while the test rewraps one after the other.
func TestKeys(t *testing.T) {
	s := harness.Start(t, harness.Options{Args: []string{"--rewrap=false"}}.With("reader", "reader", ""))
	expect := func(want string, args ...string) {
		t.Helper()
		out, errs, err := runPlugin(t, s, append([]string{"keys"}, args...)...)
		if text := strings.Join(strings.Fields(out+errs), " "); err != nil || !strings.Contains(text, want) {
			t.Errorf("keys %v: %v, want %q, got\n%s%s", args, err, want, out, errs)
		}
	}
	expect("KEY VALUES SHARE 0 values")
	expect("0 values", "--watch")
	values(t, s, "default", 3)
	values(t, s, "other", 1)
	out, _, err := runPlugin(t, s, "keys", "-o", "json")
	if err != nil || !strings.Contains(out, `"stale": 0`) {
		t.Errorf("json: %v\n%s", err, out)
	}
	expect("3 values, all under the active key aesgcm/key-")
	expect("SERVER VERSION WRITE KEY standalone v0.0.0-dev aesgcm/key-")

	s.Rotate(t, "new")
	harness.Eventually(t, "the new key is active", func() bool {
		out, _, _ := runPlugin(t, s, "keys")
		return strings.Contains(out, "3 values, 3 still to re-encrypt with the active key aesgcm/new")
	})
	expect("4 values, 4 still to re-encrypt with the active key aesgcm/new", "--all-namespaces")
	expect("1 value, 1 still to re-encrypt", "-n", "other")
	expect("requires permission to create securevalues/rewrap", "--token", readerToken)
	_, errs, err := runPlugin(t, s, "keys", "--watch", "--token", readerToken)
	if err == nil || !strings.Contains(errs, "securevalues/rewrap") {
		t.Errorf("following without the right: %v\n%s", err, errs)
	}

	following := exec.CommandContext(t.Context(), "kubectl-securevalue", "keys", "-w", "--kubeconfig="+s.Kubeconfig)
	var table bytes.Buffer
	following.Stdout = &table
	pipe, err := following.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := following.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(pipe)
	for moved := 0; lines.Scan(); moved++ {
		if want := fmt.Sprintf("%d of 3 values under aesgcm/new", moved); lines.Text() != want {
			t.Errorf("line %q, want %q", lines.Text(), want)
		}
		if moved < 3 {
			_, err := s.Values(t, "", "default").CreateRewrap(t.Context(), fmt.Sprint("value-", moved),
				&v1beta1.SecureValueRewrap{}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	err = following.Wait()
	if err != nil || !strings.Contains(table.String(), "3 values, all under the active key aesgcm/new") {
		t.Errorf("following: %v\n%s", err, table.String())
	}
	expect("aesgcm/new 3 75.0% active", "-A")
	shown := onTerminal(t, "keys", "-w", "--kubeconfig="+s.Kubeconfig)
	if !strings.Contains(shown, "["+strings.Repeat("=", 30)+"] 3 of 3 values under the new key") {
		t.Errorf("the terminal shows %q", shown)
	}
}

// onTerminal runs the plugin on a pseudo-terminal and returns its output.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	control, err := pty.Start(exec.CommandContext(t.Context(), "kubectl-securevalue", args...))
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()              //nolint:errcheck // a terminal of the test
	shown, err := io.ReadAll(control)  // ends with EIO
	if err != nil && len(shown) == 0 { // nothing was shown at all
		t.Fatal(err)
	}
	return string(shown)
}

// TestAuditVerify verifies the decrypt audit log of a server with the plugin, intact and edited.
func TestAuditVerify(t *testing.T) {
	s := startServer(t)
	canary := values(t, s, "default", 1)[0]
	s.Decrypt(t, harness.K6Token, "default", "value-0").Want(t, http.StatusOK)
	s.Stop(t)
	args := []string{
		"audit", "verify", "--key-file", filepath.Join(s.DataDir, "decrypt-audit.key"),
		filepath.Join(s.DataDir, "decrypt-audit"),
	}
	out, errs, err := runPlugin(t, s, args...)
	if err != nil || !strings.Contains(out, "The log verifies") {
		t.Errorf("audit verify: %v\n%s%s", err, out, errs)
	}
	if found := harness.Find([]byte(out+errs), canary); len(found) > 0 {
		t.Errorf("the output holds %q", found)
	}
	log := filepath.Join(s.DataDir, "decrypt-audit", "decrypt.log")
	harness.WriteFile(t, log, strings.Replace(string(harness.ReadFile(t, log)), "k6", "mallory", 1))
	_, errs, err = runPlugin(t, s, args...)
	if err == nil || !strings.Contains(errs, "error: the log does not verify") {
		t.Errorf("audit verify of an edited log: %v\n%s", err, errs)
	}
}
