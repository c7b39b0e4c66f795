// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// tempMark is in the name of every file that is being written, so that leftovers of a crash are known.
const tempMark = ".tmp-"

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

// writePrivate puts data at path so that a crash leaves the old content or the new, never a part.
func writePrivate(path string, data []byte) error {
	dir, name := filepath.Split(path)
	f, err := os.CreateTemp(dir, "."+name+tempMark) // mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// syncDir makes a rename in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir) //nolint:gosec // the data folder
	if err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("syncing %s: %w", dir, err)
	}
	return nil
}

// removeLeftovers deletes what a crash in writePrivate left in dir.
func removeLeftovers(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading data directory: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") && strings.Contains(e.Name(), tempMark) && e.Type().IsRegular() {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("removing the rest of an interrupted write: %w", err)
			}
		}
	}
	return nil
}
