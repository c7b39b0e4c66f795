// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestAttackLogTouchedUnderTheServer wants that whatever somebody does to the file, the next record is in the file that
// is at the path, and that what was written before shows as it was or as a fault.
func TestAttackLogTouchedUnderTheServer(t *testing.T) {
	for name, test := range map[string]struct {
		touch func(t *testing.T, path string)
		// fault is what verification of the folder says then, empty when nothing is lost.
		fault string
	}{
		"deleted": {func(t *testing.T, path string) { must(t, os.Remove(path)) }, "lines 1 to 5 missing before the first one"},
		"moved":   {func(t *testing.T, path string) { must(t, os.Rename(path, path+".1")) }, ""},
		"moved and recreated, as logrotate does": {func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
			write(t, path, nil)
		}, ""},
		"copied back, as sed -i does": {func(t *testing.T, path string) {
			data := read(t, path)
			must(t, os.Remove(path))
			write(t, path, data)
		}, ""},
		"copied and cut, as copytruncate does": {func(t *testing.T, path string) {
			write(t, path+".1", read(t, path))
			must(t, os.Truncate(path, 0))
		}, ""},
		"edited by way of a copy": {func(t *testing.T, path string) {
			data := strings.Replace(string(read(t, path)), "n-2", "n-7", 1)
			must(t, os.Remove(path))
			write(t, path, []byte(data))
		}, "sequence 4: the MAC does not match"},
		"cut": {func(t *testing.T, path string) { must(t, os.Truncate(path, int64(len(read(t, path))-700))) }, "sequence 4"},
		"appended to": {func(t *testing.T, path string) {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			must(t, err)
			_, err = f.WriteString("hello\n")
			must(t, err)
			must(t, f.Close())
		}, "sequence 6: not a line of a decrypt audit log"},
		"replaced by a link to a device": {func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
			must(t, os.Symlink("/dev/null", path))
		}, ""},
		"replaced by a folder": {func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".1"))
			must(t, os.Mkdir(path, 0o700))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t)
			l := mustOpen(t, c)
			recordNames(t, l, "n", 4)
			test.touch(t, c.Path)
			mustRecord(t, l, allowed("after"))

			// The record is in a private, regular file at the path, behind an opening that says why.
			info, err := os.Lstat(c.Path)
			must(t, err)
			lines := readLines(t, c.Path)
			if info.Mode() != 0o600 || nameOf(t, lines[len(lines)-1]) != "after" {
				t.Fatalf("%v file at the path:\n%s", info.Mode(), dump(t, c))
			}
			if o, first := lastOpening(t, c); o.Reason != openReplaced || first.sequence != 6 {
				t.Errorf("opening %+v is line %d, want reason %s and line 6", o, first.sequence, openReplaced)
			}
			head := l.Head()
			mustClose(t, l)
			if test.fault == "" {
				mustVerify(t, c, head)
				return
			}
			wantFault(t, c, []Head{head}, test.fault)
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestAttackFileTakenAwayDuringTheWrite stands in the gap between the check before a write and the one behind it.
func TestAttackFileTakenAwayDuringTheWrite(t *testing.T) {
	for name, times := range map[string]int{"once": 1, "twice": 2, "again and again": 100} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(t)
			l := mustOpen(t, c)
			l.written = func() { // the writer reads it after the first record below is queued
				if times--; times < 0 {
					return
				}
				if err := os.Remove(c.Path); err != nil {
					t.Error(err)
				}
			}
			err := l.Record(t.Context(), allowed("during"))
			if name == "again and again" {
				if err == nil || !strings.Contains(err.Error(), "keeps being replaced") {
					t.Errorf("Record = %v although the file never stayed", err)
				}
				return
			}
			must(t, err)
			lines := readLines(t, c.Path)
			if nameOf(t, lines[len(lines)-1]) != "during" {
				t.Errorf("the record was not written again:\n%s", dump(t, c))
			}
		})
	}
}

func TestFolderGoneAndBack(t *testing.T) {
	c := testConfig(t)
	l := mustOpen(t, c)
	recordNames(t, l, "n", 2)
	away := c.dir() + "-away"
	must(t, os.Rename(c.dir(), away))
	for range 2 {
		if err := l.Record(context.Background(), allowed("nowhere")); err == nil {
			t.Fatal("a record was acknowledged without a folder to write to")
		}
	}
	must(t, os.Rename(away, c.dir()))
	mustRecord(t, l, allowed("after"))
	head := l.Head()
	mustClose(t, l)
	if report := mustVerify(t, c, head); report.Allowed != 3 {
		t.Errorf("%d records, want the two before and the one after", report.Allowed)
	}
}

func TestRotationBySizeKeepsTheChain(t *testing.T) {
	c := testConfig(t)
	c.MaxSize = 4000
	l := mustOpen(t, c)
	recordNames(t, l, "n", 100)
	mustClose(t, l)
	report := mustVerify(t, c, l.Head())
	older, err := olderFiles(c.Path)
	must(t, err)
	if report.Allowed != 100 || report.Files < 10 || len(older) != report.Files-1 {
		t.Fatalf("report = %+v with %d older files", report, len(older))
	}
	for _, s := range older {
		info, err := os.Stat(s.path)
		must(t, err)
		if info.Size() > c.MaxSize || info.Mode() != 0o600 {
			t.Errorf("%s: %d bytes, mode %v", s.path, info.Size(), info.Mode())
		}
		first, err := parseLine([]byte(strings.TrimSuffix(readLines(t, s.path)[0], "\n")))
		if err != nil || first.sequence != s.first || first.kind != kindOpen {
			t.Errorf("%s begins with line %d of kind %s", s.path, first.sequence, first.kind)
		}
	}
}

func TestOldFilesAreRemovedByNumber(t *testing.T) {
	c := testConfig(t)
	c.MaxSize, c.MaxBackups = 2000, 3
	l := mustOpen(t, c)
	recordNames(t, l, "n", 60)
	older, err := olderFiles(c.Path)
	must(t, err)
	if len(older) > c.MaxBackups+1 {
		t.Errorf("%d older files are kept", len(older))
	}
	head := l.Head()
	mustClose(t, l)
	if report := mustVerify(t, c, head); report.FirstLine < 2 {
		t.Errorf("report = %+v: nothing was removed", report)
	}
	// What the server has not removed itself is missed.
	must(t, os.Remove(older[0].path))
	wantFault(t, c, nil, "missing before the first one")
}

func TestExpiredFiles(t *testing.T) {
	c := testConfig(t)
	now := time.Now()
	all := []olderFile{
		{first: 1, time: now.Add(-50)}, {first: 11, time: now.Add(-40)}, {first: 21, time: now.Add(-10)}, {first: 31, time: now.Add(-5)},
	}
	for name, test := range map[string]struct {
		backups int
		age     int64
		gone    int
		since   uint64
	}{
		"keep all":        {0, 0, 0, 1},
		"by number":       {3, 0, 1, 11},
		"by age":          {0, 20, 2, 21},
		"by both":         {1, 20, 3, 31},
		"none is left":    {0, 1, 4, 41},
		"younger than it": {4, 100, 0, 1},
	} {
		c.MaxBackups, c.MaxAge = test.backups, time.Duration(test.age)
		gone, since := c.expired(all, now, 1, 41)
		if len(gone) != test.gone || since != test.since {
			t.Errorf("%s: %d removed, since %d; want %d, %d", name, len(gone), since, test.gone, test.since)
		}
	}
}

func TestForeignFilesInTheFolderAreLeftAlone(t *testing.T) {
	c := testConfig(t)
	c.MaxSize, c.MaxBackups = 2000, 1
	must(t, os.MkdirAll(c.dir(), 0o700))
	foreign := []string{"decrypt-notes.log", "decrypt-0001.log", "decrypt-00000000000000000001.txt", "other-00000000000000000001.log", "decryptx.log"}
	for _, name := range foreign {
		write(t, filepath.Join(c.dir(), name), []byte("mine"))
	}
	l := mustOpen(t, c)
	recordNames(t, l, "n", 30)
	for _, name := range foreign {
		if got := string(read(t, filepath.Join(c.dir(), name))); got != "mine" {
			t.Errorf("%s holds %q", name, got)
		}
	}
}
