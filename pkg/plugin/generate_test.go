// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"testing"
	"unicode/utf8"
)

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
