// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParseEnv(t *testing.T) {
	text := "# a comment\n\nPLAIN=a b=c  \nexport EXPORTED=x\r\n  INDENTED = y\nEMPTY=\n" +
		"SINGLE='a \"b\" \\n $c # d' # a comment\nDOUBLE=\"a\\tb\\\"\\\\\\$HOME\\n\"\n" +
		"PEM=\"-----BEGIN\nabc=\n-----END\"\nDOLLAR=pa$$word\nHASH=a#b\nLAST='two\nlines'"
	want := []string{
		"PLAIN=a b=c", "EXPORTED=x", "INDENTED=y", "EMPTY=", "SINGLE=a \"b\" \\n $c # d", "DOUBLE=a\tb\"\\$HOME\n",
		"PEM=-----BEGIN\nabc=\n-----END", "DOLLAR=pa$$word", "HASH=a#b", "LAST=two\nlines",
	}
	entries, err := parseEnv(text)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.origin+"="+e.value.Expose())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestParseEnvRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"A=1\nsecret\n":          "line 2 is not NAME=VALUE",
		"secret one=1":           "line 1 is not NAME=VALUE",
		"=secret":                "line 1 is not NAME=VALUE",
		"A=1\n# c\nA=secret":     "line 3 sets a variable again",
		"A=secret # comment":     "line 1: the value has a # that some programs treat as a comment",
		"A=#secret":              "line 1: the value has a #",
		"A='x\ny'\nB='secret":    "line 3: the closing quote is missing",
		"A=\"secret\\d\"":        "line 1: invalid escape",
		"A=\"secret\\":           "line 1: invalid escape",
		"A='secret' 'secret'":    "line 1: unexpected text after the closing quote",
		"A=\"x\ny\"\n\nsecret\n": "line 4 is not NAME=VALUE",
	} {
		_, err := parseEnv(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func FuzzParseEnv(f *testing.F) {
	for _, text := range []string{"A=1\nB='2'\n", "export A=\"x\\n\"", "# c\r\n", "A='\n'", "A=\"\\"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		entries, err := parseEnv(text)
		if err != nil && len(entries) > 0 {
			t.Error("an error with entries")
		}
		for _, e := range entries {
			// What was read can be written in single quotes, and reads the same.
			if strings.ContainsAny(e.value.Expose(), "'\r") {
				continue
			}
			again, err := parseEnv(e.origin + "='" + e.value.Expose() + "'")
			if err != nil || len(again) != 1 || again[0].value != e.value {
				t.Errorf("%q: %v", e.origin, err)
			}
		}
	})
}

// TestGenerateUsesTheWholeAlphabet draws enough characters to see a bias: a modulo of random bytes would give the first
// 8 of 62 characters 25 percent more.
func TestGenerateUsesTheWholeAlphabet(t *testing.T) {
	const draws = 620_000
	alphabet := []rune(alphabets["alphanumeric"])
	value, err := generate(draws, alphabet)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[rune]int{}
	for _, c := range value.Expose() {
		counts[c]++
	}
	if len(counts) != len(alphabet) {
		t.Errorf("%d different characters, want %d", len(counts), len(alphabet))
	}
	// 10,000 are expected of each, with a standard deviation of 99: 600 is six of them, once in some million runs.
	for c, n := range counts {
		if n < draws/len(alphabet)-600 || n > draws/len(alphabet)+600 {
			t.Errorf("%q came up %d times of %d", c, n, draws)
		}
	}
}

func TestGenerate(t *testing.T) {
	seen := map[string]bool{}
	for name, alphabet := range alphabets {
		value, err := generate(64, []rune(alphabet))
		if err != nil || utf8.RuneCountInString(value.Expose()) != 64 || seen[value.Expose()] {
			t.Errorf("%s: %v", name, err)
		}
		seen[value.Expose()] = true
	}
	if len(alphabets["ascii"]) != 94 || len(alphabets["url"]) != 64 || len(alphabets["alphanumeric"]) != 62 {
		t.Error("an alphabet has the wrong size")
	}
}
