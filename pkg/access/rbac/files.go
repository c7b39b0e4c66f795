// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// maxFileBytes bounds one manifest file, so that a log file linked into the folder does not fill the memory.
const maxFileBytes = 8 << 20

// file is one manifest file as it was read.
type file struct {
	path string
	data []byte
}

// readDir reads all manifest files of a folder in the order of their names. Hidden files and folders are skipped, which
// also skips the `..data` folders of a mounted ConfigMap; symbolic links to files are followed.
func readDir(dir string) ([]file, error) {
	if dir == "" {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the folder of RBAC manifests (--rbac-dir): %w", err)
	}
	if err := reload.CheckFolder(dir); err != nil {
		return nil, err
	}
	var files []file
	var errs []error
	for _, entry := range entries {
		if !manifestName(entry.Name()) {
			continue
		}
		data, ok, err := readFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if ok {
			files = append(files, file{path: filepath.Join(dir, entry.Name()), data: data})
		}
	}
	return files, errors.Join(errs...)
}

// warnOfFolders says which folders in dir are not read: somebody may expect that they are. It is called when a set of
// manifests comes in force, not at every look.
func warnOfFolders(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // what reads the manifests says so
	}
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			klog.InfoS("A folder in --rbac-dir is not read: move its manifests up", "folder", filepath.Join(dir, entry.Name()))
		}
	}
}

// manifestName reports whether a file of this name is a manifest.
func manifestName(name string) bool {
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// readFile reads a regular file; ok is false for anything else, such as a folder or a pipe.
func readFile(path string) (data []byte, ok bool, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, false, fmt.Errorf("reading an RBAC manifest: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, false, nil
	}
	if err := reload.CheckFile(path, reload.Rights); err != nil {
		return nil, false, err
	}
	f, err := os.Open(path) //nolint:gosec // the administrator names the folder
	if err != nil {
		return nil, false, fmt.Errorf("reading an RBAC manifest: %w", err)
	}
	defer f.Close() //nolint:errcheck // opened for reading
	data, err = io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err != nil {
		return nil, false, fmt.Errorf("reading an RBAC manifest: %w", err)
	}
	if len(data) > maxFileBytes {
		return nil, false, fmt.Errorf("%s: larger than %d bytes; split it into several manifests", path, maxFileBytes)
	}
	return data, true, nil
}

// digest identifies the names and contents of files.
func digest(files []file) [sha256.Size]byte {
	h := sha256.New()
	for _, f := range files {
		// Lengths keep the border between name, content and next file.
		fmt.Fprintf(h, "%d %d %s", len(f.path), len(f.data), f.path) //nolint:errcheck // a hash does not fail
		h.Write(f.data)
	}
	return [sha256.Size]byte(h.Sum(nil))
}
