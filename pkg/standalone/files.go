// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// checkOwner refuses what other users could read or have put there.
func checkOwner(path string, info fs.FileInfo, mode fs.FileMode) error {
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s belongs to user id %d, not to %d who runs this: run chown %[3]d %[4]s",
			path, st.Uid, os.Geteuid(), shellQuote(path))
	}
	if got := info.Mode().Perm(); got&^mode != 0 {
		return fmt.Errorf("%s is accessible to other users (mode %04o): run chmod %o %s", path, got, mode, shellQuote(path))
	}
	return nil
}

// checkDir says why path cannot be used as a private directory. An absent one is fine: see makeDir.
func checkDir(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s is a symbolic link to nothing: make the folder that it points to, or choose another --data-dir", path)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading data directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory: choose another --data-dir", path)
	}
	return checkOwner(path, info, 0o700)
}

func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("creating data directory, choose another --data-dir: %w", err)
	}
	return nil
}

// readPrivate returns the content of a file, or nil when there is none. An empty file is a failure: it is what a full
// disk or a slip of the hand leaves, and a new key in its place would hide that.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file: move it away", path)
	}
	if err := checkOwner(path, info, 0o600); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path) //nolint:gosec // a file of the data folder, checked above
	if err != nil {
		return nil, err
	}
	if len(data) == 0 {
		return nil, errors.New(path + " is empty: restore it from a backup, or delete it if it never held anything")
	}
	return data, nil
}
