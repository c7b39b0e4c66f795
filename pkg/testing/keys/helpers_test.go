// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	typed "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const namespace = "keys"

// create stores values NAME-0 to NAME-(n-1) as fast as the server takes them.
func create(t *testing.T, values typed.SecureValueInterface, name string, n int, decrypters ...string) map[string]string {
	t.Helper()
	stored := make(map[string]string, n)
	work := make(chan string)
	failed := make(chan error, n)
	workers := 16
	done := make(chan struct{})
	for range workers {
		go func() {
			for name := range work {
				if _, err := values.Create(t.Context(), harness.NewValue(name, stored[name], decrypters...), metav1.CreateOptions{}); err != nil {
					failed <- err
				}
			}
			done <- struct{}{}
		}()
	}
	for i := range n {
		stored[fmt.Sprintf("%s-%d", name, i)] = harness.Canary()
	}
	for name := range stored {
		work <- name
	}
	close(work)
	for range workers {
		<-done
	}
	close(failed)
	for err := range failed {
		t.Fatal(err)
	}
	return stored
}

// byKey counts the stored values by status.key.
func byKey(t *testing.T, values typed.SecureValueInterface) map[string]int {
	t.Helper()
	list, err := values.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for i := range list.Items {
		counts[list.Items[i].Status.Key]++
	}
	return counts
}

// versions returns the resourceVersion of every value.
func versions(t *testing.T, values typed.SecureValueInterface) map[string]string {
	t.Helper()
	list, err := values.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for i := range list.Items {
		found[list.Items[i].Name] = list.Items[i].ResourceVersion
	}
	return found
}

// secretKey is a new key of 32 bytes as the configuration has it.
func secretKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

const configHead = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [securevalues.secret.grafana.app]
  providers:
`

// aesgcm is a provider with keys given as NAME, SECRET, NAME, SECRET.
func aesgcm(keys ...string) string {
	text := "  - aesgcm:\n      keys:\n"
	for pair := range slices.Chunk(keys, 2) {
		text += fmt.Sprintf("      - {name: %s, secret: %s}\n", pair[0], pair[1])
	}
	return text
}

// controller is a secret-controller-manager as a process.
type controller struct {
	command *exec.Cmd
	logFile string
}

// startController runs it against a standalone server, which has no Leases.
func startController(t *testing.T, s *harness.Server, args ...string) *controller {
	t.Helper()
	c := &controller{logFile: filepath.Join(t.TempDir(), "controller.log")}
	log, err := os.Create(c.logFile)
	if err != nil {
		t.Fatal(err)
	}
	c.command = exec.Command(harness.ControllerManagerBinary(t), append([]string{ //nolint:noctx // ends with kill
		"--kubeconfig=" + s.Kubeconfig, "--leader-elect=false", "--metrics-bind-address=0", "--health-probe-bind-address=0",
		"--rewrap-settle-time=0s", "--rewrap-probe-interval=500ms", "-v=10",
	}, args...)...)
	c.command.Stdout, c.command.Stderr = log, log
	c.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.kill()
		_ = log.Close()
	})
	return c
}

// kill ends the controller at once. It may be called more than once.
func (c *controller) kill() {
	_ = c.command.Process.Kill()
	_ = c.command.Wait()
}
