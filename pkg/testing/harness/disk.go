// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// isolatedEnv names the test that a child of a test binary runs.
const isolatedEnv = "SECRET_TEST_ISOLATED"

// WithDisk runs a test in a process with separate mounts, on a disk of a size in bytes, whose memory is taken as it is
// used. It takes root, or a kernel that gives everybody namespaces: else it logs that the test was left out. However
// the test ends, nothing stays mounted.
func WithDisk(t *testing.T, size int64, test func(t *testing.T, disk Disk)) {
	t.Helper()
	if os.Getenv(isolatedEnv) == t.Name() {
		test(t, mountDisk(t, size))
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v") //nolint:gosec // this test binary
	child.Env = append(os.Environ(), isolatedEnv+"="+t.Name())
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Getuid() != 0 {
		child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		child.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	out, err := child.CombinedOutput()
	switch exit := (*exec.ExitError)(nil); {
	case errors.As(err, &exit):
		t.Fatalf("%v\n%s", err, out)
	case err != nil:
		t.Logf("left out, no process may mount here: %v", err)
	}
}

// Disk is a small file system that can be filled to the last byte.
type Disk struct {
	// Dir is where it is mounted.
	Dir string
}

func mountDisk(t *testing.T, size int64) Disk {
	t.Helper()
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return Disk{dir}
}

func (d Disk) ballast() string { return filepath.Join(d.Dir, "ballast") }

// Fill leaves no byte of room.
func (d Disk) Fill(t testing.TB) {
	t.Helper()
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // only its size counts
	for block := make([]byte, 1<<20); err == nil; {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

// Free gives back what Fill took.
func (d Disk) Free(t testing.TB) {
	t.Helper()
	if err := os.Remove(d.ballast()); err != nil {
		t.Fatal(err)
	}
}
