// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// flag names the folder of manifests.
const flag = "rbac-dir"

// maxFileBytes limits one manifest, so that a log file linked into the folder does not fill the memory.
const maxFileBytes = 8 << 20

// file is one manifest as it was read.
type file struct {
	path string
	data []byte
}

// NewFolder returns an authorizer and the folder of manifests behind it, which may be missing if it is optional. Load
// must succeed before the first decision; Run then puts a changed set in force. A set with any fault is rejected as a
// whole: the last good one stays.
func NewFolder(dir string, optional bool) (*Authorizer, *reload.File) {
	a := New(nil)
	var files []file
	return a, &reload.File{
		Flag:     flag,
		Path:     dir,
		Optional: optional,
		Read: func() (data []byte, err error) {
			files, err = readDir(dir)
			return encode(files), err
		},
		Apply: func(context.Context, []byte) error {
			snapshot, err := parse(files)
			if err != nil {
				return err
			}
			warnOfFolders(dir)
			a.current.Store(snapshot)
			return nil
		},
	}
}

// Load reads all manifests (*.yaml, *.yml, *.json) of a folder, not of its subfolders. Loading is strict: whatever
// Kubernetes would refuse, drop or warn about is an error that says where it is and what to do. All faults are returned
// together. An empty dir gives the built-in roles only.
func Load(dir string) (*Snapshot, error) {
	var files []file
	if dir != "" {
		var err error
		if files, err = readDir(dir); err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		warnOfFolders(dir)
	}
	return parse(files)
}

// parse makes a snapshot of files that were read together.
func parse(files []file) (*Snapshot, error) {
	var items []*item
	var errs []error
	for _, f := range files {
		found, faults := decodeFile(f)
		items, errs = append(items, found...), append(errs, faults...)
	}
	return build(items, errs)
}

// encode returns the names and contents of files, with lengths that keep the borders between them.
func encode(files []file) []byte {
	var out []byte
	for _, f := range files {
		out = fmt.Appendf(out, "%d %d %s%s", len(f.path), len(f.data), f.path, f.data)
	}
	return out
}

// readDir reads all manifests of a folder in the order of their names. Hidden files and folders are skipped, which
// includes the `..data` folders of a mounted ConfigMap; symbolic links to files are followed.
func readDir(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the folder of RBAC manifests: %w", err)
	}
	if err := reload.CheckFolder(dir); err != nil {
		return nil, err
	}
	var files []file
	var errs []error
	for _, entry := range entries {
		if !isManifest(entry.Name()) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		data, ok, err := readFile(path)
		if err != nil {
			errs = append(errs, err)
		} else if ok {
			files = append(files, file{path: path, data: data})
		}
	}
	return files, errors.Join(errs...)
}

// warnOfFolders logs folders in dir, which are not read although somebody may expect it.
func warnOfFolders(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return // readDir reports it
	}
	for _, entry := range entries {
		if entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			klog.InfoS("A folder in --rbac-dir is not read: move its manifests up", "folder",
				filepath.Join(dir, entry.Name()))
		}
	}
}

func isManifest(name string) bool {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(name, ".")
	}
	return false
}

// readFile reads a regular file; ok is false for anything else, such as a folder or a pipe.
func readFile(path string) (data []byte, ok bool, err error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, false, err
	}
	if err := reload.CheckFile(path, reload.Rights); err != nil {
		return nil, false, err
	}
	f, err := os.Open(path) //nolint:gosec // the administrator names the folder
	if err != nil {
		return nil, false, err
	}
	defer f.Close() //nolint:errcheck // opened for reading
	data, err = io.ReadAll(io.LimitReader(f, maxFileBytes+1))
	if err == nil && len(data) > maxFileBytes {
		err = fmt.Errorf("%s: larger than %d bytes; split it into several manifests", path, maxFileBytes)
	}
	return data, err == nil, err
}
