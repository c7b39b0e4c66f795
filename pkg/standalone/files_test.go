// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// The user who runs this may be root, for whom no mode hides a file: the modes themselves are what counts.
func TestLooseModesAreRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		mode fs.FileMode
		word string
	}{
		{".", 0o750, "chmod 700 "},
		{".", 0o701, "chmod 700 "},
		{".", 0o722, "chmod 700 "},
		{"pki", 0o755, "chmod 700 "},
		{"pki/ca.crt", 0o644, "chmod 600 "},
		{"pki/ca.key", 0o640, "chmod 600 "},
		{"pki/serving.crt", 0o604, "chmod 600 "},
		{"pki/serving.key", 0o660, "chmod 600 "},
		{"encryption.yaml", 0o644, "chmod 600 "},
		{"encryption.yaml", 0o602, "chmod 600 "},
		{"admin.kubeconfig", 0o644, "chmod 600 "},
		{"admin-token.sha256", 0o644, "chmod 600 "},
	} {
		t.Run(tc.name+"/"+tc.mode.String(), func(t *testing.T) {
			dir := filled(t)
			path := filepath.Join(dir, tc.name)
			chmod(t, path, tc.mode)
			refused(t, dir, path, tc.word+path)
		})
	}
}

func TestTighterModesAreFine(t *testing.T) {
	dir := filled(t)
	chmod(t, filepath.Join(dir, "encryption.yaml"), 0o400)
	chmod(t, filepath.Join(dir, "pki"), 0o500)
	prepare(t, dir)
}

func TestStrangersAreRefused(t *testing.T) {
	if os.Geteuid() != 0 { // only root can give files away, but everybody finds root's
		if _, err := tryPrepare("/"); err == nil || !strings.Contains(err.Error(), "/ belongs to user id 0") {
			t.Errorf("Prepare(/) = %v", err)
		}
		return
	}
	for _, name := range []string{".", "pki", "encryption.yaml"} {
		t.Run(name, func(t *testing.T) {
			dir := filled(t)
			if err := os.Chown(filepath.Join(dir, name), 4711, -1); err != nil {
				t.Fatal(err)
			}
			refused(t, dir, "belongs to user id 4711", "chown 0 "+filepath.Join(dir, name))
		})
	}
}

func TestNotADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "the owner's")
	refused(t, path, path+" is not a directory")
	if _, err := tryPrepare(filepath.Join(path, "below")); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("Prepare below a file = %v", err)
	}
}

// A path with a space still gives a command that can be pasted.
func TestAdviceIsQuoted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "my data")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	refused(t, dir, "run chmod 700 '"+dir+"'")
}
