// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const (
	// window is how many characters of a canary, anywhere in it, count as a leak.
	window = 8
	// longestNeedle bounds what may lie across two blocks of a file.
	longestNeedle = 256
	blockSize     = 1 << 20
)

// finder searches for many canaries at once: one pass over the data whatever their number, because the first eight
// bytes of each needle lead to it.
type finder struct {
	needles  []needle
	byPrefix map[uint64]int32 // index of the last needle with this prefix
	bloom    []uint64         // spares most look-ups in big data; a small finder has none
}

type needle struct {
	text, encoding, canary string
	next                   int32 // an earlier needle with the same prefix, or -1
}

func newFinder(canaries ...string) *finder {
	f := &finder{byPrefix: map[uint64]int32{}}
	f.add(canaries...)
	return f
}

// newFileFinder makes a finder for many canaries and much data.
func newFileFinder(canaries ...string) *finder {
	f := &finder{byPrefix: map[uint64]int32{}, bloom: make([]uint64, bloomWords)}
	f.add(canaries...)
	return f
}

func (f *finder) add(canaries ...string) {
	for _, canary := range canaries {
		for encoding, text := range encodings(canary) {
			f.addNeedle(needle{text: text, encoding: encoding, canary: canary})
		}
		if isNumber(canary) {
			continue // eight digits are found everywhere
		}
		for i := 0; i+window <= len(canary); i++ {
			f.addNeedle(needle{text: canary[i : i+window], encoding: "eight characters", canary: canary})
		}
	}
}

func (f *finder) addNeedle(n needle) {
	key := binary.LittleEndian.Uint64([]byte(n.text))
	last, ok := f.byPrefix[key]
	if !ok {
		last = -1
	}
	n.next = last
	f.byPrefix[key] = int32(len(f.needles))
	f.needles = append(f.needles, n)
	if f.bloom != nil {
		bit := hash(key)
		f.bloom[bit/64] |= 1 << (bit % 64)
	}
}

// bloomWords hold as many bits as hash tells apart.
const bloomWords = 1 << (64 - 38 - 6)

// hash spreads a key over the bits of the bloom filter.
func hash(key uint64) uint64 { return key * 0x9E3779B97F4A7C15 >> 38 }

// find returns what it finds, each canary once for each encoding.
func (f *finder) find(data []byte) []string {
	var found []string
	for i := 0; i+window <= len(data); i++ {
		key := binary.LittleEndian.Uint64(data[i:])
		if bit := hash(key); f.bloom != nil && f.bloom[bit/64]&(1<<(bit%64)) == 0 {
			continue
		}
		last, ok := f.byPrefix[key]
		if !ok {
			continue
		}
		for at := last; at >= 0; at = f.needles[at].next {
			n := f.needles[at]
			if strings.HasPrefix(string(data[i:min(len(data), i+len(n.text))]), n.text) {
				found = append(found, fmt.Sprintf("%s (%s) in %q", n.canary, n.encoding,
					data[max(0, i-60):min(len(data), i+60)]))
			}
		}
	}
	return found
}

// findIn searches a file block by block: logs grow beyond memory in a long run.
func (f *finder) findIn(file string) ([]string, error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	var found []string
	block := make([]byte, blockSize)
	for kept := 0; ; {
		n, err := io.ReadFull(in, block[kept:])
		found = append(found, f.find(block[:kept+n])...)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return found, nil
		} else if err != nil {
			return nil, err
		}
		kept = copy(block, block[len(block)-longestNeedle:])
	}
}

// searchFolder fails the test for everything found in the files below dir, and returns how many bytes it searched.
func (f *finder) searchFolder(t *testing.T, dir string) (searched int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if os.IsNotExist(err) || (err == nil && !entry.Type().IsRegular()) {
			return nil // a file of the running database that went meanwhile, a folder, a socket
		} else if err != nil {
			return err
		}
		found, err := f.findIn(path)
		if os.IsNotExist(err) {
			return nil
		}
		report(t, filepath.Base(path), found)
		if info, err := entry.Info(); err == nil {
			searched += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return searched
}

// report keeps a real leak from drowning the log.
func report(t *testing.T, where string, found []string) {
	t.Helper()
	for _, one := range found[:min(len(found), 5)] {
		t.Errorf("%s holds %s", where, one)
	}
	if len(found) > 5 {
		t.Errorf("%s holds %d more", where, len(found)-5)
	}
}

// encodings are the forms that a program may write a value in.
func encodings(canary string) map[string]string {
	all := map[string]string{"raw": canary}
	for shift := range 3 {
		encoded := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + canary))
		// The characters at both ends depend on the neighbours too.
		all[fmt.Sprintf("base64 at alignment %d", shift)] = strings.TrimRight(encoded, "=")[4 : len(encoded)-8]
	}
	all["hexadecimal"] = hex.EncodeToString([]byte(canary))
	all["HEXADECIMAL"] = strings.ToUpper(all["hexadecimal"])
	for encoding, format := range map[string]string{
		"spaced hexadecimal": "%02x ", "Go bytes": "%#02x, ", "decimal bytes": "%d ", "URL": "%%%02X",
		"JSON escapes": `\u%04x`,
	} {
		var b strings.Builder
		for _, c := range []byte(canary) {
			fmt.Fprintf(&b, format, c)
		}
		all[encoding] = strings.TrimRight(b.String(), " ,")
	}
	if isNumber(canary) {
		all["float"] = canary[:1] + "." + canary[1:13] // what a decoder makes of many digits
	}
	return all
}

func isNumber(canary string) bool { return strings.Trim(canary, "0123456789") == "" }

const planted = "Zq7RtK2mWx9LbV4c"

// TestFinderFinds plants a canary in every encoding, made by the library that a leak would go through.
func TestFinderFinds(t *testing.T) {
	quoted, _ := json.Marshal("<" + planted + ">")
	tests := map[string]string{
		"raw":                    planted,
		"first eight characters": planted[:8],
		"last eight characters":  planted[8:],
		"middle":                 planted[4:12],
		"cut by a logger":        planted[:11] + "...",
		"JSON":                   string(quoted),
		"Go quoted":              strconv.Quote("\x00" + planted),
		"hexadecimal":            hex.EncodeToString([]byte(planted)),
		"%X":                     fmt.Sprintf("%X", planted),
		"% x":                    fmt.Sprintf("% x", planted),
		"hexdump":                hex.Dump([]byte(planted)),
		"%v of bytes":            fmt.Sprintf("%v", []byte(planted)),
		"%#v of bytes":           fmt.Sprintf("%#v", []byte(planted)),
		"URL":                    url.QueryEscape("a=" + planted),
		"base64 for URLs":        base64.RawURLEncoding.EncodeToString([]byte(planted)),
	}
	for shift := range 4 {
		text := strings.Repeat("\xff", shift) + planted + strings.Repeat("\xff", 3-shift)
		tests[fmt.Sprintf("base64 at %d", shift)] = base64.StdEncoding.EncodeToString([]byte(text))
	}
	for _, format := range []string{"%%%02X", `\u%04x`} {
		var b strings.Builder
		for _, c := range []byte(planted) {
			fmt.Fprintf(&b, format, c)
		}
		tests[format] = b.String()
	}
	f := newFileFinder("aaaaaaaaaaaaaaab", planted, "bbbbbbbbbbbbbbbbc")
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if len(f.find([]byte("before "+text+" after"))) == 0 {
				t.Errorf("nothing found in %q", text)
			}
			if found := newFinder("Aq7RtK2mWx9LbV4d").find([]byte(text)); name == "raw" && len(found) != 9-2 {
				t.Errorf("another canary with 14 characters in common: found %v", found)
			}
		})
	}
	if found := f.find([]byte("before " + planted[:7] + " after")); len(found) != 0 {
		t.Errorf("seven characters: found %v", found)
	}
}

func TestFinderFindsNumbers(t *testing.T) {
	const number = "918273645546372819"
	f := newFinder(number)
	float, _ := strconv.ParseFloat(number, 64)
	for _, text := range []string{number, fmt.Sprint(float), hex.EncodeToString([]byte(number))} {
		if len(f.find([]byte("before "+text+" after"))) == 0 {
			t.Errorf("nothing found in %q", text)
		}
	}
	if found := f.find([]byte("before " + number[:8] + " after")); len(found) != 0 {
		t.Errorf("eight digits: found %v", found)
	}
}

// TestFinderReadsFiles puts a canary around every border of a block.
func TestFinderReadsFiles(t *testing.T) {
	f := newFileFinder(planted)
	for shift := -20; shift <= 20; shift += 4 {
		file := filepath.Join(t.TempDir(), "file")
		content := append(bytes.Repeat([]byte{'.'}, blockSize+shift), planted...)
		if err := os.WriteFile(file, append(content, bytes.Repeat([]byte{'.'}, blockSize)...), 0o600); err != nil {
			t.Fatal(err)
		}
		if found, err := f.findIn(file); err != nil || len(found) == 0 {
			t.Errorf("at %d: found %v, error %v", shift, found, err)
		}
	}
}
