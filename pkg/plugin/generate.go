// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

const (
	digits  = "0123456789"
	letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	// charactersPrefix precedes a custom alphabet.
	charactersPrefix = "chars:"
)

// alphabets are the values of --alphabet other than chars:...
var alphabets = map[string]string{
	"alphanumeric": digits + letters,
	"digits":       digits,
	"hex":          "0123456789abcdef",
	"url":          digits + letters + "-_",
	"ascii":        printable(),
}

// printable returns the visible characters of ASCII.
func printable() string {
	var b strings.Builder
	for c := byte('!'); c <= '~'; c++ {
		b.WriteByte(c)
	}
	return b.String()
}

func alphabetHelp() string {
	names := strings.Join(slices.Sorted(maps.Keys(alphabets)), ", ")
	return names + ", or " + charactersPrefix + " followed by the characters"
}

// characters returns those of --alphabet, or none for an unknown alphabet.
func (s *source) characters() []rune {
	if own, ok := strings.CutPrefix(s.alphabet, charactersPrefix); ok {
		return []rune(own)
	}
	return []rune(alphabets[s.alphabet])
}

func (s *source) validateGenerate() error {
	if !s.generate {
		return nil
	}
	alphabet := s.characters()
	switch sorted := slices.Sorted(slices.Values(alphabet)); {
	case len(alphabet) == 0:
		return fmt.Errorf("--alphabet must be one of %s", alphabetHelp())
	case !utf8.ValidString(s.alphabet) || len(alphabet) < 2 || len(slices.Compact(sorted)) != len(alphabet):
		return errors.New("--alphabet: expected at least two characters, each once")
	case s.length < 1 || s.length > secret.MaxValueBytes:
		return fmt.Errorf("--length must be between 1 and %d", secret.MaxValueBytes)
	}
	return nil
}

// generate draws length characters uniformly from the alphabet: rand.Int rejects what would introduce a bias.
func generate(length int, alphabet []rune) (sensitive.Value, error) {
	var b strings.Builder
	size := big.NewInt(int64(len(alphabet)))
	for range length {
		n, err := rand.Int(rand.Reader, size)
		if err != nil {
			return "", fmt.Errorf("--generate: %w", err)
		}
		b.WriteRune(alphabet[n.Int64()])
	}
	return sensitive.Value(b.String()), nil
}
