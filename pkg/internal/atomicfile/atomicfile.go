// SPDX-License-Identifier: Apache-2.0

// Package atomicfile writes files that are complete or absent after a crash, and durable once it returns. It must never
// leave a file that other users can read.
package atomicfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// tempMark is in the name of each temporary file, so that RemoveLeftovers recognizes them.
const tempMark = ".tmp-"

// Create creates a temporary file with mode 0600 next to path, for Publish.
func Create(path string) (*os.File, error) {
	return os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+tempMark)
}

// Replace writes data to path, which may exist.
func Replace(path string, data []byte) error {
	return write(path, data, func(temp string) error {
		if err := os.Rename(temp, path); err != nil {
			return err
		}
		return SyncDir(filepath.Dir(path))
	})
}

// WriteNew writes data to path. The error wraps fs.ErrExist when path exists.
func WriteNew(path string, data []byte) error {
	return write(path, data, func(temp string) error { return Publish(temp, path) })
}

// Publish gives the synced file temp the name path as well or instead. The error wraps fs.ErrExist when path exists. On
// a file system without hard links that check and the rename are two steps.
func Publish(temp, path string) error {
	err := os.Link(temp, path)
	if errors.Is(err, fs.ErrExist) {
		return err
	}
	if err != nil {
		if _, err := os.Lstat(path); err == nil {
			return &fs.PathError{Op: "rename", Path: path, Err: fs.ErrExist}
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Rename(temp, path); err != nil {
			return err
		}
	}
	return SyncDir(filepath.Dir(path))
}

// SyncDir makes what was created or renamed in dir durable. It syncs a regular file as well.
func SyncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // named by the caller
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}

// RemoveLeftovers removes the temporary files that a crash left in dir. Nothing may write to dir concurrently.
func RemoveLeftovers(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		temporary := strings.HasPrefix(entry.Name(), ".") && strings.Contains(entry.Name(), tempMark)
		if temporary && entry.Type().IsRegular() {
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return fmt.Errorf("removing a temporary file of an interrupted write: %w", err)
			}
		}
	}
	return nil
}

func write(path string, data []byte, publish func(temp string) error) error {
	f, err := Create(path)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = publish(f.Name())
	}
	if removed := os.Remove(f.Name()); !errors.Is(removed, fs.ErrNotExist) { // a rename has removed it
		err = errors.Join(err, removed)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}
