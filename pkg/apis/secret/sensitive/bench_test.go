// SPDX-License-Identifier: Apache-2.0

package sensitive

import (
	"fmt"
	"strings"
	"testing"
)

var benchSizes = []int{256, 8192, 24576}

// BenchmarkUnmarshalJSON reads a value: plain text, and text in which every character is escaped.
func BenchmarkUnmarshalJSON(b *testing.B) {
	for _, size := range benchSizes {
		for name, raw := range map[string]string{
			"plain": `"` + strings.Repeat("v", size) + `"`, "escaped": `"` + strings.Repeat(`\n`, size) + `"`,
		} {
			b.Run(fmt.Sprintf("%s/%dB", name, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					var v Value
					if err := v.UnmarshalJSON([]byte(raw)); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkFormat is the redaction itself: its cost must not depend on the value.
func BenchmarkFormat(b *testing.B) {
	for _, size := range benchSizes {
		v := New(strings.Repeat("v", size))
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if text := fmt.Sprintf("%v", v); text != Redacted {
					b.Fatal("not redacted")
				}
			}
		})
	}
}
