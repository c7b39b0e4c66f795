// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// The user who runs this may be root, for whom no mode hides a file: the modes themselves are what counts.
func TestLooseModesAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		mode fs.FileMode
		word string
	}{
		{".", 0o750, "chmod 700 "},
		{".", 0o701, "chmod 700 "},
		{".", 0o722, "chmod 700 "},
		{"pki", 0o755, "chmod 700 "},
		{"pki/ca.crt", 0o644, "chmod 600 "},
		{"pki/ca.key", 0o640, "chmod 600 "},
		{"pki/serving.crt", 0o604, "chmod 600 "},
		{"pki/serving.key", 0o660, "chmod 600 "},
		{"encryption.yaml", 0o644, "chmod 600 "},
		{"encryption.yaml", 0o602, "chmod 600 "},
		{"admin.kubeconfig", 0o644, "chmod 600 "},
		{"admin-token.sha256", 0o644, "chmod 600 "},
	} {
		t.Run(tc.name+"/"+tc.mode.String(), func(t *testing.T) {
			dir := filled(t)
			path := filepath.Join(dir, tc.name)
			chmod(t, path, tc.mode)
			refused(t, dir, path, tc.word+path)
		})
	}
}

func TestTighterModesAreFine(t *testing.T) {
	dir := filled(t)
	chmod(t, filepath.Join(dir, "encryption.yaml"), 0o400)
	chmod(t, filepath.Join(dir, "pki"), 0o500)
	prepare(t, dir)
}

func TestStrangersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 { // only root can give files away, but everybody finds root's
		if _, err := tryPrepare("/"); err == nil || !strings.Contains(err.Error(), "/ belongs to user id 0") {
			t.Errorf("Prepare(/) = %v", err)
		}
		return
	}
	for _, name := range []string{".", "pki", "encryption.yaml"} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t)
			if err := os.Chown(filepath.Join(dir, name), 4711, -1); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, "belongs to user id 4711", "chown 0 "+filepath.Join(dir, name))
		})
	}
}

func TestNotADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "the owner's")
	refused(t, path, path+" is not a directory")
	if _, err := tryPrepare(filepath.Join(path, "below")); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Prepare below a file = %v", err)
	}
}

// A path with a space still gives a command that can be pasted.
func TestAdviceIsQuoted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "run chmod 700 '"+dir+"'")
}

// holdDirEnv makes the test binary a server that holds a data directory until its standard input ends.
const holdDirEnv = "TEST_STANDALONE_HOLD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(holdDirEnv); dir != "" {
		if _, err := tryPrepare(dir); err != nil {
			fmt.Println(err) //nolint:forbidigo // the child process of this test speaks to its parent
			os.Exit(1)
		}
		fmt.Println("ready") //nolint:forbidigo // the child process of this test speaks to its parent
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestSecondServerIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), holdDirEnv+"="+dir)
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "ready\n" {
		t.Fatalf("child: %q, %v", line, err)
	}

	pid := strconv.Itoa(child.Process.Pid)
	_, err = tryPrepare(dir)
	want := "data directory " + dir + " is in use by process " + pid + "; stop it or choose another --data-dir"
	if err == nil || err.Error() != want {
		t.Errorf("second server: %v, want %s", err, want)
	}
	if got := read(t, filepath.Join(dir, "lock")); got != pid+"\n" {
		t.Errorf("lock holds %q, want the first server's process id", got)
	}

	// The lock goes with its process, even when that is killed.
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = stdin.Close()
	_ = child.Wait() // killed
	prepare(t, dir)
}

func TestSameProcessTwice(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	first := prepare(t, dir)
	if _, err := tryPrepare(dir); err == nil || !strings.Contains(err.Error(), "in use by process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("second Prepare = %v, want a refusal", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	prepare(t, dir)
}

func TestFailureGivesTheLockBack(t *testing.T) {
	dir := filled(t)
	chmod(t, filepath.Join(dir, "encryption.yaml"), 0o644)
	refused(t, dir)
	chmod(t, filepath.Join(dir, "encryption.yaml"), 0o600)
	prepare(t, dir)
}

func TestUnreadableHolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	for _, text := range []string{"", "not a number", "-1"} {
		write(t, path, text)
		if got := holder(path); got != "another process" {
			t.Errorf("holder of %q = %q", text, got)
		}
	}
}
