// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

var benchSizes = []int{256, 8 << 10, secret.MaxValueBytes}

func benchEachSize(b *testing.B, run func(b *testing.B, size int)) {
	b.Helper()
	for _, size := range benchSizes {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			run(b, size)
		})
	}
}

func BenchmarkFrameEncode(b *testing.B) {
	benchEachSize(b, func(b *testing.B, size int) {
		codec, obj := NewCodec(objectCodec()), withSealed(newObject("a", ""), make([]byte, size))
		var w bytes.Buffer
		for b.Loop() {
			w.Reset()
			if err := codec.Encode(obj, &w); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFrameDecode(b *testing.B) {
	benchEachSize(b, func(b *testing.B, size int) {
		codec := NewCodec(objectCodec())
		frame := encodeFrame(b, codec, withSealed(newObject("a", ""), make([]byte, size)))
		for b.Loop() {
			if _, _, err := codec.Decode(frame, nil, &secret.SecureValue{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	benchEachSize(b, func(b *testing.B, size int) {
		s, obj := NewSealer(newTransformer(b, "aesgcm")), newObject("a", strings.Repeat("v", size))
		for b.Loop() {
			if _, err := s.Seal(b.Context(), obj, *obj.Spec.Value); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	benchEachSize(b, func(b *testing.B, size int) {
		s := NewSealer(newTransformer(b, "aesgcm"))
		obj := mustSeal(b, s, newObject("a", strings.Repeat("v", size)))
		for b.Loop() {
			if _, err := s.Open(b.Context(), obj); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkStrip(b *testing.B) {
	obj, sealed := newObject("a", ""), make([]byte, 256)
	b.ReportAllocs()
	for b.Loop() {
		obj.Sealed = sealed
		strip(obj)
	}
}
