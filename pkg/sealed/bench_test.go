// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/keys"
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
		s, obj := NewSealer(newTransformer(b, "aesgcm"), nil), newObject("a", strings.Repeat("v", size))
		for b.Loop() {
			if _, err := s.Seal(b.Context(), obj, *obj.Spec.Value); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	benchEachSize(b, func(b *testing.B, size int) {
		s := NewSealer(newTransformer(b, "aesgcm"), nil)
		obj := mustSeal(b, s, newObject("a", strings.Repeat("v", size)))
		for b.Loop() {
			if _, err := s.Open(b.Context(), obj); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkParallel shows how sealing, opening and rewrapping scale with the callers, by provider. Compare ns/op within
// one run: a provider that scales halves it from one core to two, and does not lose it again with more callers. The
// peer of kms is kms-upstream, the same plugin without pkg/keys's short way.
func BenchmarkParallel(b *testing.B) {
	for _, provider := range []string{"aesgcm", "secretbox", "aescbc", "kms", "kms-upstream"} {
		s := NewSealer(benchTransformer(b, provider), nil)
		obj := newObject("a", strings.Repeat("v", 256))
		stored := mustSeal(b, s, obj)
		for operation, run := range map[string]func(*secret.SecureValue) error{
			"seal": func(own *secret.SecureValue) error {
				_,
					err := s.Seal(b.Context(), own, *obj.Spec.Value)
				return err
			},
			"open": func(own *secret.SecureValue) error { _, err := s.Open(b.Context(), own); return err },
			"rewrap": func(own *secret.SecureValue) error {
				_, err := (&Store{sealer: s}).reseal(b.Context(), &write{}, own, own)
				return err
			},
		} {
			for _, callers := range []int{1, 8, 64} {
				b.Run(fmt.Sprintf("%s/%s/callers=%d", provider, operation, callers), func(b *testing.B) {
					benchParallel(b, callers, func() error { return run(stored) })
				})
			}
		}
	}
}

func benchTransformer(b *testing.B, provider string) value.Transformer {
	b.Helper()
	if upstream, ok := strings.CutSuffix(provider, "-upstream"); ok {
		return newTransformer(b, upstream)
	}
	p, err := keys.New(b.Context(), keys.Config{File: writeConfiguration(b, provider), APIServerID: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	return p.Transformer()
}

func benchParallel(b *testing.B, callers int, run func() error) {
	b.Helper()
	b.ReportAllocs()
	var left atomic.Int64
	left.Store(int64(b.N))
	var group sync.WaitGroup
	b.ResetTimer()
	for range callers {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := run(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

func BenchmarkStrip(b *testing.B) {
	benchEachSize(b, func(b *testing.B, size int) {
		obj, sealed := newObject("a", ""), make([]byte, size)
		for b.Loop() {
			obj.Sealed = sealed
			strip(obj)
		}
	})
}

// BenchmarkKeyScan reads 100,000 values of 1 KiB as a start does that finds no value of a new key, and as the count
// does.
func BenchmarkKeyScan(b *testing.B) {
	etcd := runEtcd(b)
	codec, s := NewCodec(objectCodec()), NewSealer(newTransformer(b, "aesgcm"), nil)
	frame := encodeFrame(b, codec, mustSeal(b, s, newObject("a", strings.Repeat("v", 1024))))
	const values, batch = 100_000, 100
	for i := 0; i < values; i += batch {
		puts := make([]clientv3.Op, batch)
		for j := range puts {
			puts[j] = clientv3.OpPut(fmt.Sprintf("%sns/value-%d", RecordRoot(etcdPrefix), i+j), string(frame))
		}
		if _, err := etcd.Txn(b.Context()).Then(puts...).Commit(); err != nil {
			b.Fatal(err)
		}
	}
	scanner := NewScanner(etcd.Client, objectCodec(), etcdPrefix)
	b.Run("new key", func(b *testing.B) {
		for b.Loop() {
			if _, err := scanner.WrongSecrets(b.Context(), nil, map[string]value.Transformer{"aesgcm/new": nil}, "",
				0); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("count", func(b *testing.B) {
		for b.Loop() {
			if counts, err := scanner.CountKeys(b.Context(), []string{oldKey}); err != nil || counts[oldKey] != values {
				b.Fatal(counts, err)
			}
		}
	})
}
