// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// SIGHUP ends nothing: the audit log is opened again, files are reloaded, a watch goes on.
func TestHangup(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	events := bufio.NewReader(s.Watch(t, harness.Collection("hangup")+"?watch=true", s.AdminToken))
	if err := os.Rename(s.AuditFile, s.AuditFile+".1"); err != nil {
		t.Fatal(err)
	}
	s.Signal(t, syscall.SIGHUP)
	harness.Eventually(t, "the audit log is opened again", func() bool { return s.Metric(t, "secret_audit_log_reopened_total") == 1 })
	s.Create(t, "hangup", "after", harness.Canary())
	if line, err := events.ReadString('\n'); err != nil || !strings.Contains(line, `"after"`) {
		t.Errorf("the watch: %v %s", err, line)
	}
	harness.Eventually(t, "the new file has the event", func() bool {
		return strings.Contains(string(harness.ReadFile(t, s.AuditFile)), `/namespaces/hangup/securevalues`)
	})
	if !strings.Contains(s.Log(t), "SIGHUP") {
		t.Error("the log does not tell of SIGHUP")
	}
	s.Leaks(t)
	s.Stop(t)
}

// A server is told to stop while it waits for an etcd that does not answer: nothing is broken.
func TestStopDuringTheStart(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			silent := harness.Listen(t) // takes connections and says nothing
			command, log := serverCommand(t, "--etcd-servers=http://"+silent.Addr().String())
			conn, err := silent.Accept() // it waits for etcd
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			begin := time.Now()
			if err := command.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			if err := command.Wait(); err != nil {
				t.Errorf("%v\n%s", err, log())
			}
			t.Logf("it took %s", time.Since(begin))
		})
	}
}

// Who asks twice does not want to wait: the second signal ends the process at once, and what was acknowledged is kept.
func TestSecondSignal(t *testing.T) {
	t.Parallel()
	args := []string{"--shutdown-delay-duration=10m"}
	s := harness.Start(t, harness.Options{Args: args})
	created := s.Create(t, "second", "kept", harness.Canary())
	s.Signal(t, syscall.SIGTERM)
	harness.Eventually(t, "it drains", func() bool { return s.Get(t, "/readyz", "").Code == http.StatusInternalServerError })
	s.Signal(t, syscall.SIGTERM)
	if err := s.Wait(t); err == nil {
		t.Error("the exit code is 0, as after an orderly stop")
	}
	wantKept(t, harness.Start(t, harness.Options{DataDir: s.DataDir}), created)
}

// serverCommand starts a server that does not become ready, and returns what it has logged so far.
func serverCommand(t *testing.T, args ...string) (*exec.Cmd, func() string) {
	t.Helper()
	dir := t.TempDir()
	file, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	all := append([]string{"--standalone", "--data-dir=" + filepath.Join(dir, "data"), "--secure-port=0", "--decrypt-port=auto", "-v=4"}, args...)
	command := exec.CommandContext(t.Context(), harness.Binary(t), all...)
	command.Stderr = file
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	return command, func() string { return string(harness.ReadFile(t, file.Name())) }
}
