// SPDX-License-Identifier: Apache-2.0

package etcdcluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Disk is a small file system in memory that can be filled to the last byte. It is mounted nowhere: it lives as long as
// this process holds it open, so that no end of a test, however sudden, leaves it behind.
type Disk struct {
	dir string
}

// CanMount says why Options.DiskBytes cannot be used, and is nil when it can.
func CanMount() error {
	d, err := mount(1 << 20)
	if err != nil {
		return err
	}
	return d.Close()
}

func newDisk(t testing.TB, size int64) *Disk {
	t.Helper()
	d, err := mount(size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	// By the id of this process, because etcd is another one.
	return &Disk{dir: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), d.Fd())}
}

// mount returns the root of a new file system of a size in bytes.
func mount(size int64) (root *os.File, err error) {
	dir, err := os.MkdirTemp("", "disk")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(dir)) }()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=700", size)); err != nil {
		return nil, fmt.Errorf("mounting a tmpfs: %w", err)
	}
	root, err = os.Open(dir) //nolint:gosec // just made
	return root, errors.Join(err, syscall.Unmount(dir, syscall.MNT_DETACH))
}

func (d *Disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// Fill leaves no byte of room for anybody.
func (d *Disk) Fill() error {
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only its size counts
	for block := make([]byte, 1<<20); ; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Free gives back what Fill took.
func (d *Disk) Free() error { return os.Remove(d.ballast()) }
