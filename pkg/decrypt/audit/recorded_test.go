// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite testdata/recorded: only for a new format, never to make this test pass")

// varying are the parts of a line that differ between two logs of the same events.
var varying = regexp.MustCompile(`"(time|from|to|chain|key|mac|prev)":"[^"]*"`)

// A log that an earlier version wrote verifies, goes on, and the same events still make the same lines.
func TestRecordedLog(t *testing.T) {
	recorded := filepath.Join("testdata", "recorded")
	if *update {
		c := writeEvents(t)
		if err := os.MkdirAll(filepath.Join(recorded, "log"), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(recorded, "log", "decrypt.log"), read(t, c.Path))
		write(t, filepath.Join(recorded, "audit.key"), read(t, c.KeyFile))
	}
	old := testConfig(t)
	old.GenerateKey = false
	if err := os.MkdirAll(old.dir(), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, old.Path, read(t, filepath.Join(recorded, "log", "decrypt.log")))
	write(t, old.KeyFile, read(t, filepath.Join(recorded, "audit.key")))
	before := mustVerify(t, old)
	if before.Allowed != 2 || before.Denied != 3 || before.Suppressed != 18 {
		t.Errorf("the recorded log holds %+v", before)
	}

	c := writeEvents(t)
	lines := func(path string) string { return varying.ReplaceAllString(string(read(t, path)), `"$1":""`) }
	if diff := cmp.Diff(lines(old.Path), lines(c.Path)); diff != "" {
		t.Errorf("lines of the same events (-recorded +now):\n%s", diff)
	}

	l := mustOpen(t, old)
	recordNames(t, l, "later", 1)
	mustClose(t, l)
	if after := mustVerify(t, old, l.Head()); after.Allowed != 3 {
		t.Errorf("gone on with, the recorded log holds %+v", after)
	}
}

// writeEvents makes a log with a line of every kind that needs no fault.
func writeEvents(t *testing.T) Config {
	t.Helper()
	c := testConfig(t)
	c.DenyRate, c.DenyBurst = 0.001, 2
	l := mustOpen(t, c)
	mustRecord(t, l, allowed("one"), denied("eve", "one"))
	for range 20 {
		mustRecord(t, l, denied("mallory", "two"))
	}
	mustClose(t, l)
	l = mustOpen(t, c)
	recordNames(t, l, "two", 1)
	mustClose(t, l)
	return c
}
