// SPDX-License-Identifier: Apache-2.0

package reload

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestModes reads files of each mode for each content, under their own name and by a link.
func TestModes(t *testing.T) {
	const changed, readable = "can be changed by other users", "can be read by every user"
	for mode, want := range map[fs.FileMode][2]string{ // for credentials, for rights
		0o600: {}, 0o400: {}, 0o440: {}, 0o640: {},
		0o644: {readable, ""}, 0o444: {readable, ""}, 0o604: {readable, ""},
		0o620: {changed, changed}, 0o660: {changed, changed}, 0o602: {changed, changed}, 0o666: {changed, changed},
	} {
		path := filepath.Join(t.TempDir(), "file")
		link := filepath.Join(t.TempDir(), "link")
		if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		for holds, want := range want {
			for _, path := range []string{path, link} {
				data, err := ReadFile(path, Content(holds))
				wantFault(t, err, want, path)
				wantFault(t, CheckFile(path, Content(holds)), want, path)
				if (string(data) == "content") != (want == "") {
					t.Errorf("mode %04o: read %q", mode, data)
				}
			}
		}
	}
}

func wantFault(t *testing.T, err error, want, path string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("%v", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) ||
		!strings.Contains(err.Error(), "chmod") || strings.Contains(err.Error(), "content")):
		t.Errorf("want %q, the path and what to do, got %v", want, err)
	}
}

// TestFolderThatEverybodyWrites refuses a file that any user could replace, unless the sticky bit forbids it.
func TestFolderThatEverybodyWrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[fs.FileMode]string{
		0o700: "", 0o770: "", 0o777 | fs.ModeSticky: "", 0o777: "can be replaced by every user",
	} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		wantFault(t, CheckFile(path, Rights), want, path)
		link := filepath.Join(t.TempDir(), "link")
		if err := os.Symlink(path, link); err != nil {
			t.Fatal(err)
		}
		wantFault(t, CheckFile(link, Rights), want, path)
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	wantFault(t, CheckFolder(dir), "can be changed by other users", dir)
}

// TestLooseFileKeepsTheLastGoodContent loosens the mode of a file that is in force, and changes it.
func TestLooseFileKeepsTheLastGoodContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	write := func(content string, mode fs.FileMode) {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	var applied []string
	file := &File{Flag: "token-auth-file", Path: path, Holds: Credentials,
		Apply: func(_ context.Context, data []byte) error { applied = append(applied, string(data)); return nil }}
	write("good", 0o600)
	if err := file.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	write("of somebody else", 0o666)
	for range 3 {
		file.Check(t.Context(), true)
	}
	write("better", 0o600)
	file.Check(t.Context(), true)
	if strings.Join(applied, ",") != "good,better" {
		t.Errorf("applied %q", applied)
	}
}
