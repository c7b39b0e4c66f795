// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

// lastOpening is the newest opening in the file at the path.
func lastOpening(t testing.TB, c Config) (opening, line) {
	t.Helper()
	for _, text := range slices.Backward(readLines(t, c.Path)) {
		l, err := parseLine([]byte(strings.TrimSuffix(text, "\n")))
		if err != nil {
			t.Fatal(err)
		}
		if l.kind == kindOpen {
			o, err := parseOpening(l)
			if err != nil {
				t.Fatal(err)
			}
			return o, l
		}
	}
	t.Fatal("no opening")
	return opening{}, line{}
}

func TestTornLastLineIsRemovedAndCounted(t *testing.T) {
	c, head := smallLog(t)
	good := read(t, c.Path)
	next := appendLine(nil, mustKeys(t, c.KeyFile).current(), &head, entry{kindDecrypt, []byte(`{"user":"never acknowledged"}`)})
	for name, rest := range map[string][]byte{
		"a half line":         next[:len(next)/2],
		"all but the end":     next[:len(next)-1],
		"one byte":            next[:1],
		"zeros of lost power": make([]byte, 4096),
		"a lot of zeros":      make([]byte, 5*maxLine),
	} {
		t.Run(name, func(t *testing.T) {
			write(t, c.Path, append(bytes.Clone(good), rest...))
			l := mustOpen(t, c)
			mustRecord(t, l, allowed("after"))
			mustClose(t, l)
			mustVerify(t, c, l.Head())
			if o, l := lastOpening(t, c); o.Reason != openStarted || o.Torn != int64(len(rest)) || l.sequence != 6 {
				t.Errorf("opening %+v is line %d, want %d torn bytes and line 6", o, l.sequence, len(rest))
			}
		})
	}
}

func TestEndedBetweenTwoFiles(t *testing.T) {
	for name, leave := range map[string][]byte{"no new file": nil, "an empty one": {}, "a torn first line": []byte(`{"seq":6,"prev":"00`)} {
		t.Run(name, func(t *testing.T) {
			c, _ := smallLog(t)
			if err := setAside(c.Path, 1); err != nil {
				t.Fatal(err)
			}
			if leave != nil {
				write(t, c.Path, leave)
			}
			l := mustOpen(t, c)
			mustRecord(t, l, allowed("after"))
			mustClose(t, l)
			if report := mustVerify(t, c, l.Head()); report.Lines != 7 || report.Files != 2 {
				t.Errorf("report = %+v, want 7 lines in 2 files", report)
			}
		})
	}
}

// cutOff is a log whose last line is gone although it was published.
func cutOff(t *testing.T) Config {
	t.Helper()
	c, head := smallLog(t)
	c.Heads = &memoryHeads{head: head, ok: true}
	write(t, c.Path, joinLines(readLines(t, c.Path)[:4]))
	return c
}

func TestAttackLinesCutOffWhileTheServerIsDown(t *testing.T) {
	c := cutOff(t)
	l := mustOpen(t, c)
	mustRecord(t, l, allowed("after"))
	mustClose(t, l)
	o, first := lastOpening(t, c)
	if o.Reason != openCutOff || o.Missing == nil || *o.Missing != (span{5, 5}) || first.sequence != 6 {
		t.Errorf("opening %+v is line %d, want line 5 missing and line 6", o, first.sequence)
	}
	wantFault(t, c, nil, "sequence 6", "had been published and were missing", "--known-fault 6")
	known := Verification{Keys: mustKeys(t, c.KeyFile), Known: map[uint64]bool{6: true}}
	if report, err := known.Verify([]string{c.dir()}); err != nil || report.Head != l.Head() {
		t.Errorf("Verify once the fault is known = %+v, %v", report, err)
	}
	if head, _, err := c.Heads.Load(context.Background()); err != nil || head != l.Head() {
		t.Errorf("the published head is %v, want %v", head, l.Head())
	}
}

func TestAttackLogDeletedWhileTheServerIsDown(t *testing.T) {
	c, head := smallLog(t)
	c.Heads = &memoryHeads{head: head, ok: true}
	if err := os.Remove(c.Path); err != nil {
		t.Fatal(err)
	}
	l := mustOpen(t, c)
	mustRecord(t, l, allowed("after"))
	o, first := lastOpening(t, c)
	if o.Reason != openCutOff || *o.Missing != (span{1, 5}) || first.sequence != 6 {
		t.Errorf("opening %+v is line %d, want lines 1 to 5 missing and line 6", o, first.sequence)
	}
	wantFault(t, c, nil, "lines 1 to 5 had been published")
}

func TestAttackLogRewrittenWithTheKey(t *testing.T) {
	c, head := smallLog(t)
	forged := testConfig(t)
	forged.KeyFile, forged.GenerateKey = c.KeyFile, false
	l := mustOpen(t, forged)
	recordNames(t, l, "innocent", 9)
	mustClose(t, l)
	write(t, c.Path, read(t, forged.Path))

	c.Heads = &memoryHeads{head: head, ok: true}
	mustClose(t, mustOpen(t, c))
	if o, _ := lastOpening(t, c); o.Reason != openRewritten {
		t.Errorf("opening %+v, want reason %s", o, openRewritten)
	}
	wantFault(t, c, nil, "no longer held the line it had published")
}

func TestDamagedEnd(t *testing.T) {
	for name, spoil := range map[string]func(lines []string) []string{
		"last line edited":      func(lines []string) []string { lines[4] = strings.Replace(lines[4], "allow", "Allow", 1); return lines },
		"a foreign last line":   func(lines []string) []string { return append(lines, "hello\n") },
		"first line edited":     func(lines []string) []string { lines[0] = strings.Replace(lines[0], "test", "tset", 1); return lines },
		"nothing of it is good": func([]string) []string { return []string{"one\n", "two\n"} },
		"a huge foreign line":   func(lines []string) []string { return append(lines, strings.Repeat("x", 3*maxLine)+"\n") },
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := smallLog(t)
			write(t, c.Path, joinLines(spoil(readLines(t, c.Path))))
			before := read(t, c.Path)
			l := mustOpen(t, c)
			mustRecord(t, l, allowed("after"))
			mustClose(t, l)
			if o, _ := lastOpening(t, c); o.Reason != openDamaged {
				t.Errorf("opening %+v, want reason %s", o, openDamaged)
			}
			older, err := olderFiles(c.Path)
			if err != nil || len(older) != 1 || !bytes.Equal(read(t, older[0].path), before) {
				t.Errorf("the damaged file was not kept as it was: %v, %v", older, err)
			}
			if _, err := verifyDir(t, c); err == nil {
				t.Error("the damage does not show")
			}
		})
	}
}

func TestPublishedHeadUnavailable(t *testing.T) {
	c, _ := smallLog(t)
	c.Heads = &memoryHeads{fail: errors.New("etcd is down")}
	if _, err := Open(context.Background(), c); err == nil || !strings.Contains(err.Error(), "etcd is down") {
		t.Errorf("Open = %v, want that it cannot compare", err)
	}
	c.Heads = &memoryHeads{} // a new database has none
	mustClose(t, mustOpen(t, c))
	mustVerify(t, c)
}

func TestPublishedHeadInAnOlderFile(t *testing.T) {
	c := testConfig(t)
	c.MaxSize = 2000
	l := mustOpen(t, c)
	recordNames(t, l, "n", 5)
	early := l.Head()
	recordNames(t, l, "m", 25)
	mustClose(t, l)

	c.Heads = &memoryHeads{head: early, ok: true}
	mustClose(t, mustOpen(t, c))
	if o, _ := lastOpening(t, c); o.Reason != openStarted {
		t.Errorf("opening %+v, want that all is well", o)
	}
	c.Heads = &memoryHeads{head: Head{Sequence: early.Sequence, MAC: MAC{1}}, ok: true}
	mustClose(t, mustOpen(t, c))
	if o, _ := lastOpening(t, c); o.Reason != openRewritten {
		t.Errorf("opening %+v, want reason %s", o, openRewritten)
	}
}
