// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

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
