// SPDX-License-Identifier: Apache-2.0

package sealing

import (
	"strconv"
	"strings"
	"testing"
)

func BenchmarkSeal(b *testing.B) {
	key := newKey(b).Public()
	for _, size := range []int{32, 1024, MaxValueBytes} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.ReportAllocs()
			value := []byte(strings.Repeat("x", size))
			for b.Loop() {
				if _, err := key.Seal(value, someBinding); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkOpen parses and opens, as a server does for each text.
func BenchmarkOpen(b *testing.B) {
	key := newKey(b)
	for _, size := range []int{32, 1024, MaxValueBytes} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.ReportAllocs()
			text := seal(b, key.Public(), strings.Repeat("x", size), someBinding)
			for b.Loop() {
				if _, err := key.Open(parse(b, text), someBinding); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParsePrivateKey is what keeping a key parsed saves.
func BenchmarkParsePrivateKey(b *testing.B) {
	raw := newKey(b).Bytes()
	for b.Loop() {
		if _, err := ParsePrivateKey(raw); err != nil {
			b.Fatal(err)
		}
	}
}
