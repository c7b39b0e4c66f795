// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyFiles(t *testing.T) {
	good := "b3BlbnNzbCByYW5kIC1iYXNlNjQgMzIgPiBhIGZpbGU=\n" // 32 bytes
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		want string
	}{
		"good":              {good, 0o600, ""},
		"read-only":         {good, 0o400, ""},
		"with an older key": {good + "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n", 0o600, ""},
		"group-readable":    {good, 0o440, ""}, // as a mounted Secret is
		"world-readable":    {good, 0o604, "can be read by every user"},
		"group-writable":    {good, 0o620, "can be changed by other users"},
		"empty":             {"", 0o600, "line 1"},
		"too short":         {"c2hvcnQ=\n", 0o600, "is not 32 bytes"},
		"no base64":         {"!" + good, 0o600, "is not 32 bytes"},
		"bad second line":   {good + "x\n", 0o600, "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "key")
			write(t, path, []byte(test.text))
			if err := os.Chmod(path, test.mode); err != nil {
				t.Fatal(err)
			}
			_, err := LoadKeys(path)
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Fatalf("LoadKeys = %v, want %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), strings.TrimSpace(test.text+"?")) {
				t.Errorf("the error repeats the key: %v", err)
			}
		})
	}
}

func TestKeyBesideTheLogIsRefused(t *testing.T) {
	c := testConfig(t)
	elsewhere := filepath.Dir(c.KeyFile)
	if err := os.MkdirAll(filepath.Join(c.dir(), "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(c.dir(), filepath.Join(elsewhere, "alias")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(c.dir(), "real.key"), []byte("x"))
	if err := os.Symlink(filepath.Join(c.dir(), "real.key"), filepath.Join(elsewhere, "linked.key")); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		filepath.Join(c.dir(), "audit.key"), filepath.Join(c.dir(), "below", "audit.key"),
		filepath.Join(elsewhere, "alias", "audit.key"), filepath.Join(elsewhere, "linked.key"),
	} {
		bad := c
		bad.KeyFile = path
		if _, err := Open(context.Background(), bad); err == nil || !strings.Contains(err.Error(), "keep it elsewhere") {
			t.Errorf("key %s: Open = %v", path, err)
		}
	}
}

func TestLostKeyIsNotReplacedByANewOne(t *testing.T) {
	c, _ := smallLog(t)
	if err := os.Remove(c.KeyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), c); err == nil || !strings.Contains(err.Error(), "restore the key") {
		t.Errorf("Open = %v", err)
	}
	c.GenerateKey = false
	if _, err := Open(context.Background(), c); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open without a key = %v", err)
	}
}

func TestKeyRotation(t *testing.T) {
	c, _ := smallLog(t)
	old := read(t, c.KeyFile)
	second := filepath.Join(t.TempDir(), "second")
	if err := generateKey(second); err != nil {
		t.Fatal(err)
	}
	write(t, c.KeyFile, read(t, second))
	if _, err := Open(context.Background(), c); err == nil || !strings.Contains(err.Error(), "add it to") {
		t.Errorf("Open without the old key = %v", err)
	}
	write(t, c.KeyFile, append(read(t, second), old...))
	l := mustOpen(t, c)
	mustRecord(t, l, allowed("under the new key"))
	mustClose(t, l)
	if report := mustVerify(t, c, l.Head()); report.Files != 2 || report.Lines != 7 {
		t.Errorf("report = %+v, want 7 lines in 2 files", report)
	}
	if o, _ := lastOpening(t, c); o.Reason != openRekeyed {
		t.Errorf("opening %+v", o)
	}
}
