// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// values are enough for a backup of some megabytes, which takes a moment to write.
const values = 100

// attempts bounds how often a command is started to be killed in the middle. A few suffice.
const attempts = 100

// killWhen starts a command, kills it once something is true, and reports whether it was killed before it ended by
// itself.
func killWhen(t *testing.T, when func() bool, args ...string) bool {
	t.Helper()
	command := exec.CommandContext(t.Context(), harness.Binary(t), args...)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	for {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("it was not killed, and ended with %v", err)
			}
			return false
		case <-time.After(100 * time.Microsecond):
			if !when() {
				continue
			}
			_ = command.Process.Signal(syscall.SIGKILL)
			return <-ended != nil
		}
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}

// A backup that is killed leaves no file of the asked name, and none that passes for a backup though it is not whole.
func TestKilledBackupLeavesNothingThatPasses(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	stored := fill(t, s, values, 20_000)
	killed := 0
	for i := 0; i < attempts && killed < 3; i++ {
		dir := t.TempDir()
		target := filepath.Join(dir, "backup.db")
		if !killWhen(t, func() bool { return len(names(t, dir)) > 0 }, "backup", "--data-dir="+s.DataDir, "--to="+target) {
			continue
		}
		killed++
		for _, left := range names(t, dir) {
			// What was killed behind its last step is whole, under either name: then every value opens.
			stdout, stderr, code := harness.Tool(t, "backup", "verify", "--from="+filepath.Join(dir, left), "--encryption-provider-config="+keys(s.DataDir))
			whole := code == 0 && strings.Contains(stdout, "100 of 100 values open")
			if !whole && (code != 1 || left == "backup.db") {
				t.Errorf("%s is left: code %d\n%s%s", left, code, stdout, stderr)
			}
			noCanary(t, left, harness.ReadFile(t, filepath.Join(dir, left)), stored)
		}
	}
	if killed == 0 {
		t.Errorf("no backup could be killed in the middle")
	}
	must(t, "backup", "--data-dir="+s.DataDir, "--to="+file(t)) // the server is none the worse for it
}

// A restore that is killed leaves no database, and the next one goes through.
func TestKilledRestoreLeavesNoDatabase(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	stored := fill(t, s, values, 20_000)
	backup := file(t)
	must(t, "backup", "--data-dir="+s.DataDir, "--to="+backup)
	killed := 0
	for i := 0; i < attempts && killed < 3; i++ {
		dir := filepath.Join(t.TempDir(), "data")
		if !killWhen(t, func() bool { return len(names(t, dir)) > 0 }, "restore", "--from="+backup, "--data-dir="+dir) {
			continue
		}
		left := names(t, dir)
		if len(left) == 1 && left[0] == "etcd" {
			continue // it was done
		}
		killed++
		if len(left) != 1 || !strings.HasPrefix(left[0], ".restore-") {
			t.Errorf("left: %v", left)
		}
		must(t, "restore", "--from="+backup, "--data-dir="+dir)
		harness.WriteFile(t, keys(dir), string(harness.ReadFile(t, keys(s.DataDir))))
		if opened := harness.OpenAll(t, dir); len(opened) != len(stored) {
			t.Errorf("%d values open", len(opened))
		}
	}
	if killed == 0 {
		t.Errorf("no restore could be killed in the middle")
	}
}

// Ctrl-C during a backup or a restore takes what it made away.
func TestInterruptedCommandsCleanUp(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	fill(t, s, values, 20_000)
	interrupted := 0
	for i := 0; i < attempts && interrupted < 2; i++ {
		dir := t.TempDir()
		command := exec.CommandContext(t.Context(), harness.Binary(t), "backup", "--data-dir="+s.DataDir, "--to="+filepath.Join(dir, "backup.db"))
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "it writes", func() bool { return len(names(t, dir)) > 0 })
		_ = command.Process.Signal(syscall.SIGINT) // it may be over
		if err := command.Wait(); err != nil {
			interrupted++
			if left := names(t, dir); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		}
	}
	if interrupted == 0 {
		t.Error("no backup could be interrupted in the middle")
	}
}
