// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestRecordIsInTheFileWhenItReturns(t *testing.T) {
	for _, mode := range []Fsync{FsyncAlways, FsyncInterval, FsyncNever} {
		t.Run(string(mode), func(t *testing.T) {
			c := testConfig(t)
			c.Fsync = mode
			l := mustOpen(t, c)
			mustRecord(t, l, allowed("api-key"), denied("mallory", "other"))

			lines := readLines(t, c.Path)
			if len(lines) != 3 {
				t.Fatalf("got %d lines, want an opening and two records:\n%s", len(lines), dump(t, c))
			}
			var got Record
			if err := json.Unmarshal([]byte(lines[1]), &got); err != nil {
				t.Fatal(err)
			}
			if got.Time.IsZero() {
				t.Error("the record has no time")
			}
			want := allowed("api-key")
			want.Time = got.Time
			if got != want {
				t.Errorf("the record is\n%+v, want\n%+v", got, want)
			}
			mustVerify(t, c)
		})
	}
}

func TestChainGoesOnOverRestarts(t *testing.T) {
	c := testConfig(t)
	c.Heads = &memoryHeads{}
	var last Head
	for run := range 4 {
		l := mustOpen(t, c)
		recordNames(t, l, fmt.Sprint("run-", run), 3)
		last = l.Head()
		mustClose(t, l)
	}
	report := mustVerify(t, c, last)
	if report.Head != last || report.Lines != 16 || report.Allowed != 12 || report.Files != 1 {
		t.Errorf("report = %+v, want 16 lines up to %v in one file", report, last)
	}
}

func TestFilesArePrivate(t *testing.T) {
	c := testConfig(t)
	mustClose(t, mustOpen(t, c))
	for path, want := range map[string]os.FileMode{c.Path: 0o600, c.KeyFile: 0o600, c.dir(): 0o700 | os.ModeDir} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
		}
	}
	if err := os.Chmod(c.Path, 0o644); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, c)
	if info, err := os.Stat(c.Path); err != nil || info.Mode() != 0o600 {
		t.Errorf("after a restart: %v, %v; want mode 0600 again", info.Mode(), err)
	}
}

func TestConcurrentCallersShareWritesAndKeepTheirLines(t *testing.T) {
	c := testConfig(t)
	l := mustOpen(t, c)
	const callers, each = 32, 25
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for i := range each {
				batch := []Record{allowed(fmt.Sprintf("n-%d-%d-a", caller, i)), allowed(fmt.Sprintf("n-%d-%d-b", caller, i))}
				if err := l.Record(context.Background(), batch...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if report := mustVerify(t, c, l.Head()); report.Allowed != 2*callers*each {
		t.Errorf("%d records are in the log, want %d", report.Allowed, 2*callers*each)
	}
	// The records of one call stand together.
	lines := readLines(t, c.Path)
	for i, line := range lines {
		if name, found := strings.CutSuffix(nameOf(t, line), "-a"); found && nameOf(t, lines[i+1]) != name+"-b" {
			t.Fatalf("line %d is %s, line %d is not its second record", i+1, name, i+2)
		}
	}
}

func nameOf(t testing.TB, line string) string {
	t.Helper()
	var r Record
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	return r.Name
}

func TestRecordsThatDoNotSayWhatHappenedAreRefused(t *testing.T) {
	c := testConfig(t)
	l := mustOpen(t, c)
	for name, spoil := range map[string]func(*Record){
		"no decision":                func(r *Record) { r.Decision = "" },
		"unknown decision":           func(r *Record) { r.Decision = "maybe" },
		"no reason":                  func(r *Record) { r.Reason = "" },
		"allowed although absent":    func(r *Record) { r.Reason = ReasonAbsent },
		"denied although granted":    func(r *Record) { r.Decision = Deny },
		"second record of the batch": func(r *Record) { r.Decision = "allowed" },
	} {
		r := allowed("x")
		spoil(&r)
		if err := l.Record(context.Background(), allowed("fine"), r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if report := mustVerify(t, c); report.Lines != 1 {
		t.Errorf("%d lines, want the opening only: a refused batch leaves nothing", report.Lines)
	}
}

func TestHostileTextStaysInItsField(t *testing.T) {
	c := testConfig(t)
	l := mustOpen(t, c)
	texts := []string{
		"line\nfeed", `quote","mac":"` + strings.Repeat("0", 64) + `"}`, "nul\x00", "\xff\xfe not utf-8", "\u2028", strings.Repeat("\x01", 5000), "<&>",
	}
	for _, text := range texts {
		r := denied(text, text)
		r.AuditID, r.UserUID, r.Source, r.Namespace, r.UID, r.Decrypter = text, text, text, text, text, text
		mustRecord(t, l, r)
	}
	mustClose(t, l)
	report := mustVerify(t, c)
	if want := len(texts) + 1; report.Lines != want || len(readLines(t, c.Path)) != want {
		t.Errorf("%d lines verify, %d are in the file, want %d", report.Lines, len(readLines(t, c.Path)), want)
	}
	for i, line := range readLines(t, c.Path)[1:] {
		if len(line) > maxLine {
			t.Errorf("text %d makes a line of %d bytes", i, len(line))
		}
	}
	mustClose(t, mustOpen(t, c)) // and a start can read it
	mustVerify(t, c)
}

func TestClosedAndCancelled(t *testing.T) {
	c := testConfig(t)
	l := mustOpen(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Record(ctx, allowed("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("Record with a cancelled context = %v", err)
	}
	mustClose(t, l)
	if err := l.Record(context.Background(), allowed("x")); !errors.Is(err, ErrClosed) {
		t.Errorf("Record after Close = %v, want %v", err, ErrClosed)
	}
	if err := l.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
}

func TestTwoServersOnOneLog(t *testing.T) {
	c := testConfig(t)
	mustOpen(t, c)
	if _, err := Open(context.Background(), c); err == nil || !strings.Contains(err.Error(), "in use by another server") {
		t.Errorf("second Open = %v", err)
	}
}

func TestQueueIsBounded(t *testing.T) {
	q := newQueue() // nobody takes
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	batch := make([]entry, 1024)
	for range maxQueued / len(batch) {
		if err := q.submit(ctx, batch); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	if err := q.submit(ctx, batch); !errors.Is(err, ErrBusy) {
		t.Errorf("submit to a full queue = %v, want %v", err, ErrBusy)
	}
	taken := 0
	for group := q.take(); len(group) > 0; group = q.take() {
		lines := 0
		for _, r := range group {
			lines += len(r.entries)
		}
		if lines > maxGroup {
			t.Errorf("a group of %d lines", lines)
		}
		taken += lines
	}
	if taken != maxQueued || q.lines != 0 {
		t.Errorf("took %d lines, %d are left over; want %d and 0", taken, q.lines, maxQueued)
	}
}

func TestUnusablePaths(t *testing.T) {
	base := testConfig(t)
	dir := filepath.Dir(base.KeyFile)
	file := filepath.Join(dir, "file")
	write(t, file, nil)
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(dir, "folder")
	must(t, os.Mkdir(folder, 0o700))
	key := filepath.Join(t.TempDir(), "key")
	must(t, generateKey(key))
	for path, want := range map[string]string{
		filepath.Join(file, "x"): "not a directory", folder: "not a regular file", link: "symbolic links",
	} {
		c := base
		c.Path, c.KeyFile = path, key
		if l, err := Open(context.Background(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Open = %v, want %q", path, err, want)
			if err == nil {
				mustClose(t, l)
			}
		}
	}
}

func TestIntervalModeSyncsByItself(t *testing.T) {
	c := testConfig(t)
	c.Fsync = FsyncInterval
	l := mustOpen(t, c)
	before := l.Head()
	mustRecord(t, l, allowed("x"))
	for deadline := time.Now().Add(30 * time.Second); l.Head() == before; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the head never became durable")
		}
	}
}
