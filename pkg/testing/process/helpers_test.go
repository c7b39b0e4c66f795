// SPDX-License-Identifier: Apache-2.0

package process

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// tree describes everything in a folder by mode and content, except the lock, which names the last process.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil || relative == "lock" {
			return err
		}
		found[relative] = info.Mode().String()
		if info.Mode().IsRegular() {
			found[relative] += fmt.Sprintf(" %x", sha256.Sum256(harness.ReadFile(t, path)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// copyTree copies folders and regular files with their modes.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, relative)
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(target, info.Mode().Perm())
		}
		return os.WriteFile(target, harness.ReadFile(t, path), info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// lines splits text into its lines.
func lines(text string) []string { return strings.Split(strings.TrimSuffix(text, "\n"), "\n") }
