// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// smallLog writes a log of a few lines and returns where its chain ends.
func smallLog(t testing.TB) (Config, Head) {
	t.Helper()
	c := testConfig(t)
	l := mustOpen(t, c)
	recordNames(t, l, "n", 4)
	mustClose(t, l)
	return c, l.Head()
}

func TestAnyFlippedByteIsFound(t *testing.T) {
	c, head := smallLog(t)
	good := read(t, c.Path)
	keys := mustKeys(t, c.KeyFile)
	for i := range good {
		flip := []byte{0x01, 0x20, 0x80}[i%3]
		bad := bytes.Clone(good)
		bad[i] ^= flip
		write(t, c.Path, bad)
		_, err := Verification{Keys: keys}.Verify([]string{c.Path})
		var fault *Fault
		if !errors.As(err, &fault) {
			t.Fatalf("byte %d flipped by %#x: Verify = %v", i, flip, err)
		}
		if want := 1 + bytes.Count(good[:i], []byte("\n")); fault.Line != want {
			t.Fatalf("byte %d flipped by %#x: the fault is in line %d, want %d: %v", i, flip, fault.Line, want, fault)
		}
	}
	write(t, c.Path, good)
	mustVerify(t, c, head)
}

func TestAnyTruncationIsFound(t *testing.T) {
	c, head := smallLog(t)
	good := read(t, c.Path)
	for size := range good {
		write(t, c.Path, good[:size])
		_, err := verifyDir(t, c, head)
		if err == nil {
			t.Fatalf("cut to %d bytes of %d: no fault", size, len(good))
		}
		// Between two lines only the published head tells.
		if _, err = verifyDir(t, c); (err == nil) != (size > 0 && good[size-1] == '\n') {
			t.Fatalf("cut to %d bytes, without a head: %v", size, err)
		}
	}
}

func TestAnyMovedLineIsFound(t *testing.T) {
	c, head := smallLog(t)
	lines := readLines(t, c.Path)
	check := func(what string, changed []string) {
		t.Helper()
		write(t, c.Path, joinLines(changed))
		if _, err := verifyDir(t, c, head); err == nil {
			t.Errorf("%s: no fault", what)
		}
	}
	for i := range lines {
		check(fmt.Sprintf("line %d removed", i+1), slices.Delete(slices.Clone(lines), i, i+1))
		check(fmt.Sprintf("line %d repeated", i+1), slices.Insert(slices.Clone(lines), i, lines[i]))
		for j := range i {
			swapped := slices.Clone(lines)
			swapped[i], swapped[j] = swapped[j], swapped[i]
			check(fmt.Sprintf("lines %d and %d swapped", j+1, i+1), swapped)
		}
	}
	check("an empty line", slices.Insert(slices.Clone(lines), 2, "\n"))
}

func TestFaultsAreNamed(t *testing.T) {
	c, head := smallLog(t)
	lines := readLines(t, c.Path)
	edited := slices.Clone(lines)
	edited[2] = strings.Replace(edited[2], "system:serviceaccount:k6:runner", "somebody:else", 1)
	for name, test := range map[string]struct {
		lines []string
		want  []string
	}{
		"edited":    {edited, []string{"decrypt.log:3: sequence 3: the MAC does not match the line: it was edited"}},
		"removed":   {slices.Delete(slices.Clone(lines), 2, 3), []string{"decrypt.log:3: sequence 3: line 3 missing before line 4"}},
		"repeated":  {slices.Insert(slices.Clone(lines), 2, lines[2]), []string{"decrypt.log:4: sequence 3: line 3 is in the place of line 4"}},
		"cut off":   {lines[:3], []string{"sequence 4: the log ends with line 3, but line 5 was published: it was cut off"}},
		"no header": {lines[1:], []string{"decrypt.log:1: sequence 2: the first line of a file must be"}},
		"foreign":   {append(slices.Clone(lines), "{}\n"), []string{"decrypt.log:6: sequence 6: not a line of a decrypt audit log"}},
	} {
		t.Run(name, func(t *testing.T) {
			write(t, c.Path, joinLines(test.lines))
			wantFault(t, c, []Head{head}, append(test.want, "keep all files as they are")...)
		})
	}
}

func TestAttackForgedLineWithoutTheKey(t *testing.T) {
	c, head := smallLog(t)
	lines := readLines(t, c.Path)
	last, err := parseLine([]byte(strings.TrimSuffix(lines[3], "\n")))
	if err != nil {
		t.Fatal(err)
	}
	at := last.head()
	e := entry{kind: kindDecrypt, fields: []byte(`{"time":"2026-01-01T00:00:00Z","user":"nobody","decision":"allow","reason":"granted"}`)}
	lines[4] = string(appendLine(nil, newKey([]byte("guessed")), &at, e))
	write(t, c.Path, joinLines(lines))
	wantFault(t, c, []Head{head}, "decrypt.log:5: sequence 5", "MAC does not match")
}

func TestAttackLogOfAnotherInstanceUnderTheSameKey(t *testing.T) {
	c, head := smallLog(t)
	other := testConfig(t)
	other.GenerateKey = false
	other.KeyFile = c.KeyFile
	l := mustOpen(t, other)
	recordNames(t, l, "n", 4)
	mustClose(t, l)

	// One line in the place of its namesake, then the whole file.
	lines, foreign := readLines(t, c.Path), readLines(t, other.Path)
	spliced := slices.Clone(lines)
	spliced[2] = foreign[2]
	write(t, c.Path, joinLines(spliced))
	wantFault(t, c, nil, "decrypt.log:3: sequence 3: the line follows another line")
	write(t, c.Path, joinLines(foreign))
	wantFault(t, c, []Head{head}, "sequence 5: the published head is", "rewritten")
}

func TestVerifyNeedsTheRightKey(t *testing.T) {
	c, _ := smallLog(t)
	other := filepath.Join(t.TempDir(), "other.key")
	if err := generateKey(other); err != nil {
		t.Fatal(err)
	}
	_, err := Verification{Keys: mustKeys(t, other)}.Verify([]string{c.Path})
	if err == nil || !strings.Contains(err.Error(), "unknown key") || strings.Contains(err.Error(), "edited") {
		t.Errorf("Verify under another key = %v, want that it says so", err)
	}
}

func TestPartsOfALog(t *testing.T) {
	c := testConfig(t)
	c.MaxSize = 2000
	l := mustOpen(t, c)
	recordNames(t, l, "n", 30)
	mustClose(t, l)
	older, err := olderFiles(c.Path)
	if err != nil || len(older) < 4 {
		t.Fatalf("%d older files, %v", len(older), err)
	}
	paths := []string{c.Path}
	for _, s := range older {
		paths = append(paths, s.path)
	}
	slices.Reverse(paths)
	report, err := verifyPaths(t, c, paths, l.Head())
	if err != nil || report.Allowed != 30 || report.Files != len(paths) {
		t.Fatalf("all files in another order: %+v, %v", report, err)
	}
	if _, err := verifyPaths(t, c, []string{paths[0], paths[0]}); err == nil || !strings.Contains(err.Error(), "--part") {
		t.Errorf("the newest file alone: %v, want a hint at --part", err)
	}
	for i := range paths {
		rest := slices.Delete(slices.Clone(paths), i, i+1)
		if _, err := verifyPaths(t, c, rest, l.Head()); err == nil {
			t.Errorf("without %s: no fault", filepath.Base(paths[i]))
		}
	}
	part := Verification{Keys: mustKeys(t, c.KeyFile), Part: true}
	if report, err := part.Verify([]string{older[2].path}); err != nil || report.FirstLine != older[2].first {
		t.Errorf("a middle file as a part: %+v, %v", report, err)
	}
}

func TestVerifyOfNothing(t *testing.T) {
	c, _ := smallLog(t)
	empty := filepath.Join(t.TempDir(), "empty.log")
	write(t, empty, nil)
	for name, paths := range map[string][]string{"an empty file": {empty}, "an empty folder": {t.TempDir()}, "no such file": {empty + "x"}} {
		if _, err := verifyPaths(t, c, paths); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestHeadText(t *testing.T) {
	head := Head{Sequence: 17, MAC: MAC{0xab, 31: 0x01}}
	if got, err := ParseHead(head.String()); err != nil || got != head {
		t.Errorf("ParseHead(%q) = %v, %v", head, got, err)
	}
	short := "17:ab0000000000"
	if w, err := ParseWitness(short); err != nil || !w.matches(head) || w.String() != short {
		t.Errorf("ParseWitness(%q) = %v, %v", short, w, err)
	}
	for _, text := range []string{"", "17", "17:", ":ab", "x:ab0000000000", "17:ab", "17:AB0000000000", "-1:ab0000000000", "17:" + strings.Repeat("a", 65), "17:ab00000000zz"} {
		if _, err := ParseWitness(text); err == nil {
			t.Errorf("ParseWitness(%q): no error", text)
		}
		if _, err := ParseHead(text); err == nil {
			t.Errorf("ParseHead(%q): no error", text)
		}
	}
}

// FuzzVerify wants that no bytes but the good ones verify against the published head, and that none crash a start.
func FuzzVerify(f *testing.F) {
	c, head := smallLog(f)
	good := read(f, c.Path)
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add([]byte{})
	f.Add([]byte(`{"seq":1,"prev":"","kind":"open","mac":""}` + "\n"))
	f.Add(bytes.Repeat([]byte("\n"), 100))
	f.Add(append(bytes.Clone(good), make([]byte, 3*maxLine)...))
	keys := mustKeys(f, c.KeyFile)
	witness, err := ParseWitness(head.String())
	if err != nil {
		f.Fatal(err)
	}
	path := filepath.Join(f.TempDir(), "fuzz.log")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Verification{Keys: keys, Heads: []Witness{witness}}.Verify([]string{path})
		if (err == nil) != bytes.Equal(data, good) {
			t.Errorf("Verify = %v for %d bytes, %q…", err, len(data), data[:min(len(data), 200)])
		}
		if _, err := inspect(path, keys); err != nil && !strings.Contains(err.Error(), errUnknownKey.Error()) {
			t.Errorf("inspect: %v", err)
		}
	})
}
