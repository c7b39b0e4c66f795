// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWrite checks what each function leaves behind in a folder: the file alone, private, with the right content.
func TestWrite(t *testing.T) {
	for name, test := range map[string]struct {
		write   func(path string, data []byte) error
		old     string
		want    string
		refused bool
	}{
		"replace creates":         {write: Replace, want: "new"},
		"replace replaces":        {write: Replace, old: "old", want: "new"},
		"write new creates":       {write: WriteNew, want: "new"},
		"write new keeps the old": {write: WriteNew, old: "old", want: "old", refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			if test.old != "" {
				if err := os.WriteFile(path, []byte(test.old), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			err := test.write(path, []byte("new"))
			if errors.Is(err, fs.ErrExist) != test.refused || (err != nil) != test.refused {
				t.Errorf("got %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), path) {
				t.Errorf("%v does not name the file", err)
			}
			if got, err := os.ReadFile(path); string(got) != test.want {
				t.Errorf("got %q, %v, want %q", got, err, test.want)
			}
			entries, err := os.ReadDir(filepath.Dir(path))
			if err != nil || len(entries) != 1 {
				t.Errorf("the folder holds %v, %v", entries, err)
			}
			if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("got %v, %v", info, err)
			}
		})
	}
}

// TestFailureRemovesTheTemporaryFile: a target that is a folder can be neither replaced nor created.
func TestFailureRemovesTheTemporaryFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, write := range []func(string, []byte) error{Replace, WriteNew} {
		if err := write(path, []byte("x")); err == nil {
			t.Error("accepted")
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
	if err := Replace(filepath.Join(path, "absent", "file"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestRemoveLeftovers(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(filepath.Join(dir, "file"))
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".hidden", "file.tmp-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := RemoveLeftovers(dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the folder holds %v, %v", entries, err)
	}
	if err := RemoveLeftovers(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
