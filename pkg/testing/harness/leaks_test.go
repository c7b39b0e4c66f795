// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
	"testing"
)

// A search that finds nothing is worth what it would have found.
func TestFind(t *testing.T) {
	canary, other := Canary(), Canary()
	for name, text := range map[string]string{
		"raw": canary, "at the end": "x" + canary, "its first characters": canary[:len("canary-")+8] + "…",
		"hexadecimal": hex.EncodeToString([]byte("ab" + canary + "c")), "URL": url.QueryEscape(canary),
		"base64":             base64.StdEncoding.EncodeToString([]byte(canary)),
		"base64 behind one":  base64.StdEncoding.EncodeToString([]byte("x" + canary + "yz")),
		"base64 behind two":  base64.StdEncoding.EncodeToString([]byte("xy" + canary + "z")),
		"behind empty pages": strings.Repeat("\x00", 4096) + canary,
	} {
		if found := Find([]byte(text), other, canary); len(found) == 0 || strings.Contains(strings.Join(found, " "), other) {
			t.Errorf("%s: want the canary only, found %q", name, found)
		}
	}
	for _, text := range []string{"", "canary", "canary-", canary[:12], strings.ToLower(canary)} {
		if found := Find([]byte(text), canary); len(found) > 0 {
			t.Errorf("found %q in %q", found, text)
		}
	}
}

func TestFragments(t *testing.T) {
	parts := NewFragments(8, "0123456789", "short")
	for text, want := range map[string]int{"": 0, "0123456": 0, "01234567": 1, "x23456789x": 1, "0123456x789": 0, "short": 0, "0123456789 23456789": 1} {
		if found := parts.Find([]byte(text)); len(found) != want {
			t.Errorf("%q: want %d, found %q", text, want, found)
		}
	}
}
