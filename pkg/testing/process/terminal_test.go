// SPDX-License-Identifier: Apache-2.0

package process

import (
	"encoding/base64"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/screen"
)

// weakKeys are what a server warns of.
const weakKeys = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [securevalues.secret.grafana.app]
  providers: [{aescbc: {keys: [{name: weak, secret: KEY}]}}]
`

// On a terminal the banner stands alone: lines below warning are logged only with -v.
func TestQuietOnATerminal(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "encryption.yaml")
	harness.WriteFile(t, config, strings.ReplaceAll(weakKeys, "KEY", base64.StdEncoding.EncodeToString(make([]byte, 32))))
	for name, test := range map[string]struct {
		args  []string
		lines bool
	}{
		"by default": {nil, false},
		"-v=0":       {[]string{"-v=0"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			text := onTerminal(t, append(test.args, "--encryption-provider-config="+config)...)
			if got := strings.Contains(text, "Serving securely on"); got != test.lines {
				t.Errorf("lines of level info: %t, want %t:\n%s", got, test.lines, text)
			}
			if !strings.Contains(text, "aescbc has no integrity protection") {
				t.Errorf("the warning is missing:\n%s", text)
			}
		})
	}
}

// onTerminal starts a server on a pseudo-terminal, stops it once it is ready and returns what the terminal showed.
func onTerminal(t *testing.T, args ...string) string {
	t.Helper()
	control, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close() //nolint:errcheck // a terminal of the test
	args = append([]string{"--standalone", "--data-dir=" + filepath.Join(t.TempDir(), "data"), "--secure-port=0", "--decrypt-port=auto"}, args...)
	command := exec.CommandContext(t.Context(), harness.Binary(t), args...)
	command.Stdout, command.Stderr = tty, tty
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	shown := screen.Watch(control)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the terminal shows:\n%s", shown.Text())
		}
	})
	harness.Eventually(t, "the server is ready", func() bool { return strings.Contains(shown.Text(), "secret-apiserver is ready") })
	if err := command.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := command.Wait(); err != nil {
		t.Errorf("stopped by Ctrl-C: %v", err)
	}
	_ = tty.Close()
	shown.Wait()
	return shown.Text()
}
