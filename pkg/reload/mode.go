// SPDX-License-Identifier: Apache-2.0

package reload

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Content is the kind of content of a file, which determines who else may have access to it.
type Content int

const (
	// Credentials are tokens and keys: no other user may change them, and not every user may read them. A group may,
	// for mounted Secrets with an fsGroup.
	Credentials Content = iota
	// Rights grant permissions, as RBAC manifests and CA bundles do: no other user may change them.
	Rights
)

const (
	othersWrite fs.FileMode = 0o022
	worldWrite  fs.FileMode = 0o002
	worldRead   fs.FileMode = 0o004
	// readOnlyMount is ST_RDONLY of Linux and MNT_RDONLY of the BSDs.
	readOnlyMount = 1
)

// ReadFile reads a file of the operator. It returns an error with the path and what to do if other users have more
// access to it than its content allows. It follows symbolic links.
func ReadFile(path string, holds Content) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // named by the operator
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.IsDir() { // reading it fails below
		err = checkMode(path, info, holds)
	}
	if err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}

// CheckFile returns the error of ReadFile for a file that something else reads.
func CheckFile(path string, holds Content) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	return checkMode(path, info, holds)
}

// CheckFolder returns an error when other users may add files to a folder whose files grant permissions.
func CheckFolder(path string) error {
	return CheckFile(path, Rights)
}

// checkMode accepts files on read-only mounts, which nobody can change: what Kubernetes mounts into a Pod has loose
// modes, 0644 for files of a Secret and 0777 for its folders.
func checkMode(path string, info fs.FileInfo, holds Content) error {
	if isReadOnly(path) {
		return nil
	}
	mode := info.Mode().Perm()
	if mode&othersWrite != 0 {
		return fmt.Errorf("%s can be changed by other users (mode %04o): run chmod go-w on it", path, mode)
	}
	if holds == Credentials && mode&worldRead != 0 {
		return fmt.Errorf("%s can be read by every user (mode %04o): run chmod o-r on it", path, mode)
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	if err := checkParent(path); err != nil || target == path {
		return err
	}
	return checkParent(target)
}

// checkParent refuses a folder in which every user can replace the file. With the sticky bit, as in /tmp, only the
// owner can.
func checkParent(path string) error {
	parent := filepath.Dir(path)
	info, err := os.Stat(parent)
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSticky == 0 && info.Mode().Perm()&worldWrite != 0 {
		return fmt.Errorf("%s can be replaced by every user, because of the mode %04o of its folder: run chmod o-w %s",
			path, info.Mode().Perm(), parent)
	}
	return nil
}

// isReadOnly reports whether a path is on a mount that nobody may write to.
func isReadOnly(path string) bool {
	var mount syscall.Statfs_t
	return syscall.Statfs(path, &mount) == nil && mount.Flags&readOnlyMount != 0
}
