// SPDX-License-Identifier: Apache-2.0

package input

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
	// charactersPrefix leads an alphabet of one's own.
	charactersPrefix = "chars:"
)

// alphabets are the ones that have a name.
var alphabets = map[string]string{
	"alphanumeric": digits + letters,
	"digits":       digits,
	"hex":          "0123456789abcdef",
	"url":          digits + letters + "-_",
	"ascii":        printable(),
}

// printable are the characters of ASCII that can be seen.
func printable() string {
	var b strings.Builder
	for c := byte('!'); c <= '~'; c++ {
		b.WriteByte(c)
	}
	return b.String()
}

func alphabetHelp() string {
	return strings.Join(slices.Sorted(maps.Keys(alphabets)), ", ") + ", or " + charactersPrefix + " with the characters behind it"
}

// characters are those of --alphabet; none when it names no alphabet.
func (s *Source) characters() []rune {
	if own, ok := strings.CutPrefix(s.alphabet, charactersPrefix); ok {
		return []rune(own)
	}
	return []rune(alphabets[s.alphabet])
}

func (s *Source) validateGenerate() error {
	if !s.generate {
		return nil
	}
	alphabet := s.characters()
	switch sorted := slices.Sorted(slices.Values(alphabet)); {
	case len(alphabet) == 0:
		return fmt.Errorf("--alphabet must be one of %s", alphabetHelp())
	case !utf8.ValidString(s.alphabet) || len(alphabet) < 2 || len(slices.Compact(sorted)) != len(alphabet):
		return errors.New("--alphabet: give at least two characters, each once")
	case s.length < 1 || s.length > secret.MaxValueBytes:
		return fmt.Errorf("--length must be 1 to %d", secret.MaxValueBytes)
	}
	return nil
}

// generate draws length characters, each of the alphabet with the same chance: rand.Int rejects what would be a bias.
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
