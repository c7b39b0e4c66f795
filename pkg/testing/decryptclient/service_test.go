// SPDX-License-Identifier: Apache-2.0

package decryptclient

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// example is docs/examples/service, running.
type example struct {
	t   *testing.T
	log string
	cmd *exec.Cmd
}

func startExample(t *testing.T, s *suite, name string) *example {
	t.Helper()
	root := harness.Root(t)
	binary := filepath.Join(root, "bin", "test", "example-service")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./docs/examples/service")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v\n%s", err, out)
	}
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	harness.WriteFile(t, token, k6Token)
	e := &example{t: t, log: filepath.Join(dir, "log")}
	log, err := os.Create(e.log)
	if err != nil {
		t.Fatal(err)
	}
	e.cmd = exec.CommandContext(t.Context(), binary, "--decrypt", s.DecryptURL, "--ca", s.CAFile, "--token-file", token, "--name", name)
	e.cmd.Stdout, e.cmd.Stderr = log, log
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = e.cmd.Process.Kill()
		_ = e.cmd.Wait()
		_ = log.Close()
		if t.Failed() {
			t.Logf("the example's log:\n%s", harness.ReadFile(t, e.log))
		}
	})
	return e
}

// own is a line of the example itself, behind its time; it prints no other.
var own = regexp.MustCompile(`(?m)^\d{4}/\d\d/\d\d \d\d:\d\d:\d\d (login: .*)$`)

// await waits until the example printed exactly these lines.
func (e *example) await(want ...string) {
	e.t.Helper()
	var lines []string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		lines = nil
		for _, found := range own.FindAllSubmatch(harness.ReadFile(e.t, e.log), -1) {
			lines = append(lines, string(found[1]))
		}
		if slices.Equal(lines, want) {
			return
		}
	}
	e.t.Fatalf("the example printed (-want +got):\n%s", cmp.Diff(want, lines))
}

func connected(length int) string {
	return fmt.Sprintf("login: connected with a password of %d bytes", length)
}

// write gives login a value of another length than canaries have, so that the example's line tells which one it has.
func (s *suite) write(t *testing.T, more int) {
	t.Helper()
	s.writeValue(t, s.secret().Expose()+strings.Repeat("x", more))
}

func (s *suite) writeValue(t *testing.T, value string) {
	t.Helper()
	sv, err := s.values(t).Get(t.Context(), "login", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	sv.Spec.Value = sensitive.New(value)
	if _, err := s.values(t).Update(t.Context(), sv, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestServiceExample is the table of docs/examples/service/README.md: a new value is taken without a restart, the old
// one stays while the server is away, and what is gone or withdrawn is said once.
func TestServiceExample(t *testing.T) {
	s := start(t)
	length := len(s.create(t, "login", "k6-cloud"))
	e := startExample(t, s, "login")
	want := []string{connected(length)}
	e.await(want...)

	s.write(t, 1)
	want = append(want, connected(length+1))
	e.await(want...)

	s.restart(t, func() { s.awaitTwo(t) })
	e.await(want...) // it neither dropped its value nor reconnected
	s.write(t, 2)
	want = append(want, connected(length+2))
	e.await(want...)

	if err := s.values(t).Delete(t.Context(), "login", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	want = append(want, "login: secure value default/login: not found")
	e.await(want...)
	s.create(t, "login", "k6-cloud")
	want = append(want, connected(length))
	e.await(want...)
	s.change(t, "login", "synthetic-monitoring")
	want = append(want, "login: secure value default/login: not found")
	e.await(want...)

	if err := e.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Wait(); err != nil {
		t.Errorf("the example ended with %v", err)
	}
	if found := harness.Find(harness.ReadFile(t, e.log), s.canaries...); len(found) > 0 {
		t.Errorf("the example's log holds %s", found)
	}
	s.Leaks(t, s.canaries...)
}

// restart stops the server, and starts it again on the same data and ports after something happened meanwhile.
func (s *suite) restart(t *testing.T, meanwhile func()) {
	t.Helper()
	s.Stop(t)
	s.Leaks(t, s.canaries...)
	meanwhile()
	s.Server = s.Again(t, options())
}

// awaitTwo waits until the example has asked in vain for changes, twice.
func (s *suite) awaitTwo(t *testing.T) {
	t.Helper()
	asked, stop := harness.HangUp(t, s.DecryptURL)
	defer stop()
	harness.Eventually(t, "the example asks while the server is away", func() bool { return asked.Load() >= 2 })
}
