// SPDX-License-Identifier: Apache-2.0

package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

// auditWorld is an audit log in its own folder.
type auditWorld struct {
	*auditFile
	t *testing.T
}

func newAuditWorld(t *testing.T) *auditWorld {
	t.Helper()
	opts := options.NewOptions().Audit
	opts.LogPath, opts.MaxSizeMB = filepath.Join(t.TempDir(), "log", "audit.log"), 1
	if err := os.Mkdir(filepath.Dir(opts.LogPath), 0o700); err != nil {
		t.Fatal(err)
	}
	file, err := newAuditFile(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.file.Close() })
	return &auditWorld{file, t}
}

func (w *auditWorld) write(line string) {
	w.t.Helper()
	if _, err := w.Write([]byte(line + "\n")); err != nil {
		w.t.Fatal(err)
	}
}

func (w *auditWorld) want(path, lines string) {
	w.t.Helper()
	content, err := os.ReadFile(path)
	if got := strings.ReplaceAll(strings.TrimSpace(string(content)), "\n", " "); err != nil || got != lines {
		w.t.Errorf("%s holds %.100q, %v; want %q", path, got, err, lines)
	}
}

func (w *auditWorld) do(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestAuditLogFollowsItsPath: whatever another process does to the file, the next check continues in a file that the
// path names.
func TestAuditLogFollowsItsPath(t *testing.T) {
	for name, touch := range map[string]func(w *auditWorld) error{
		"renamed":         func(w *auditWorld) error { return os.Rename(w.path, w.path+".1") },
		"removed":         func(w *auditWorld) error { return os.Remove(w.path) },
		"folder removed":  func(w *auditWorld) error { return os.RemoveAll(filepath.Dir(w.path)) },
		"file in between": func(w *auditWorld) error { return os.Rename(w.path, w.path+".1") },
	} {
		t.Run(name, func(t *testing.T) {
			w := newAuditWorld(t)
			w.write("one")
			w.check()
			w.want(w.path, "one")
			w.do(touch(w))
			w.write("two")
			want := "three"
			if name == "file in between" { // logrotate's create
				w.do(os.WriteFile(w.path, []byte("theirs\n"), 0o600))
				want = "theirs three"
			}
			w.check()
			w.check()
			w.write("three")
			w.want(w.path, want)
			if name == "renamed" {
				w.want(w.path+".1", "one two")
			}
			if info, err := os.Stat(w.path); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v %v", info, err)
			}
		})
	}
}

// TestAuditLogWhosePathCannotBeOpened: events go into the previous file, and a notice reports it until it is fixed.
func TestAuditLogWhosePathCannotBeOpened(t *testing.T) {
	w := newAuditWorld(t)
	w.do(os.Rename(w.path, w.path+".1"))
	w.do(os.Mkdir(w.path, 0o700))
	w.check()
	w.write("one")
	w.want(w.path+".1", "one")
	if err := w.Fault(); err == nil || !strings.Contains(err.Error(), "--audit-log-path") {
		t.Errorf("Fault() = %v", err)
	}
	w.do(os.Remove(w.path))
	w.check()
	w.write("two")
	w.want(w.path, "two")
	if err := w.Fault(); err != nil {
		t.Errorf("Fault() = %v after it was fixed", err)
	}
}

// TestAuditLogRotates: a rotation is not taken for that of another process, and no line is split or lost.
func TestAuditLogRotates(t *testing.T) {
	w := newAuditWorld(t)
	long := strings.Repeat("x", 600<<10)
	for range 3 {
		w.write(long)
		before := w.file
		w.check()
		if w.file != before {
			t.Error("the file was opened again after its own rotation")
		}
	}
	files, err := filepath.Glob(filepath.Join(filepath.Dir(w.path), "*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v; want three files", files, err)
	}
	for _, file := range files {
		w.want(file, long)
	}
	w.rotated = time.Now().Add(time.Hour) // a clock that was set back must not hold up requests
	w.write(long)
	w.want(w.path, long)
}
