// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Canary is a random value that is found in no output by chance.
func Canary() string { return "canary-" + rand.Text() }

// Find looks for canaries in data, raw and in the encodings that a program may put a value into: base64 at each of the
// three alignments, hexadecimal, URL and JSON. It returns what it found and how.
func Find(data []byte, canaries ...string) []string {
	type needle struct{ text, label string }
	byStart := map[string][]needle{}
	starts := NewFragments(needleStart)
	for _, canary := range canaries {
		for encoding, text := range needles(canary) {
			start := text[:needleStart]
			starts.Add(start)
			byStart[start] = append(byStart[start], needle{text, fmt.Sprintf("%s (%s)", canary, encoding)})
		}
	}
	found := map[string]bool{}
	starts.each(data, func(at int) {
		for _, n := range byStart[string(data[at:at+needleStart])] {
			if bytes.HasPrefix(data[at:], []byte(n.text)) {
				found[n.label] = true
			}
		}
	})
	return slices.Sorted(maps.Keys(found))
}

// needleStart is how much of a needle is looked up at each byte. No needle is shorter.
const needleStart = 8

func needles(canary string) map[string]string {
	quoted, _ := json.Marshal(canary) // a string always marshals
	all := map[string]string{
		"raw": canary, "first eight characters of the random part": canary[:len("canary-")+8],
		"hexadecimal": hex.EncodeToString([]byte(canary)), "URL": url.QueryEscape(canary),
		"JSON": strings.Trim(string(quoted), `"`),
	}
	for shift := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + canary))
		// The characters at both ends depend on the neighbours too.
		all[fmt.Sprintf("base64 at alignment %d", shift)] = strings.TrimRight(encoded, "=")[4 : len(encoded)-8]
	}
	return all
}

// Leaks searches everything that the server wrote: log, output, audit log, and every file of the data folder with the
// database, its write-ahead log and snapshots. It fails the test for each canary found.
func (s *Server) Leaks(t testing.TB, canaries ...string) {
	t.Helper()
	s.OutputLeaks(t, canaries...)
	var files []string
	err := filepath.WalkDir(s.DataDir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			files = append(files, path)
		}
		if os.IsNotExist(err) {
			return nil // a file of the running database that went meanwhile
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantNone(t, files, canaries)
}

// OutputLeaks searches what the process itself wrote, as Leaks does, and leaves the data folder to the server that has
// it now.
func (s *Server) OutputLeaks(t testing.TB, canaries ...string) {
	t.Helper()
	wantNone(t, []string{s.LogFile, s.OutFile, s.AuditFile}, canaries)
}

func wantNone(t testing.TB, files, canaries []string) {
	t.Helper()
	for _, file := range files {
		for _, found := range Find(ReadFile(t, file), canaries...) {
			t.Errorf("%s holds %s", filepath.Base(file), found)
		}
	}
}

// Fragments finds parts of values in a text: "not even eight characters of it".
type Fragments struct {
	length  int
	windows map[string]string
	// pairs has the first two bytes of every window: most of a database is empty pages, and these are skipped fast.
	pairs [1 << 16]bool
}

// NewFragments returns a search for length bytes in a row of any value.
func NewFragments(length int, values ...string) *Fragments {
	f := &Fragments{length: length, windows: map[string]string{}}
	for _, value := range values {
		f.Add(value)
	}
	return f
}

// Add makes a value one of those that are searched for.
func (f *Fragments) Add(value string) {
	for start := 0; start+f.length <= len(value); start++ {
		window := value[start : start+f.length]
		f.windows[window] = value
		f.pairs[int(window[0])<<8|int(window[1])] = true
	}
}

// Find returns each value of which data holds a part, in one pass however many values there are.
func (f *Fragments) Find(data []byte) []string {
	var found []string
	seen := map[string]bool{}
	f.each(data, func(at int) {
		if value := f.windows[string(data[at:at+f.length])]; !seen[value] {
			seen[value] = true
			found = append(found, value)
		}
	})
	return found
}

// each calls back for every place where a window starts.
func (f *Fragments) each(data []byte, hit func(at int)) {
	for at := 0; at+f.length <= len(data); at++ {
		if !f.pairs[int(data[at])<<8|int(data[at+1])] {
			continue
		}
		if _, ok := f.windows[string(data[at:at+f.length])]; ok {
			hit(at)
		}
	}
}
