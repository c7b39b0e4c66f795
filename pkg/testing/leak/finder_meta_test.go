// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

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
