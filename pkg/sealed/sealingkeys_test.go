// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
)

func (s *stack) sealingKeys(maxAge time.Duration) *SealingKeys {
	return NewSealingKeys(s.etcd.KV, etcdPrefix, s.sealer, maxAge)
}

func mustList(t testing.TB, k *SealingKeys) []SealingKey {
	t.Helper()
	found, _, err := k.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Of many servers that are asked for the first key, one makes it.
func TestOneServerMakesTheSealingKey(t *testing.T) {
	s := newStack(t, false)
	var servers sync.WaitGroup
	var ids sync.Map
	for range 8 {
		servers.Go(func() {
			found, _, err := s.sealingKeys(0).List(t.Context())
			if err != nil || len(found) != 1 {
				t.Errorf("%d keys, %v", len(found), err)
				return
			}
			ids.Store(found[0].ID, true)
		})
	}
	servers.Wait()
	count := 0
	ids.Range(func(any, any) bool { count++; return true })
	if count != 1 {
		t.Errorf("the servers named %d different keys", count)
	}
}

// Without a key to seal with none is made, and one that is to be replaced stays.
func TestSealingKeysOfARetiredStorageKey(t *testing.T) {
	s := newStack(t, false)
	mustList(t, s.sealingKeys(0))
	s.retire(t, oldKey)
	if again := mustList(t, s.sealingKeys(time.Nanosecond)); len(again) != 1 {
		t.Errorf("%d keys: one was made under a retired key", len(again))
	}
	if _, err := s.etcd.Delete(t.Context(), sealingRoot(etcdPrefix), clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.sealingKeys(0).List(t.Context()); !errors.Is(err, ErrKeyRetired) {
		t.Errorf("error %v, want ErrKeyRetired", err)
	}
	s.rotate(t)
	s.keys.failing.Store(true)
	if _, _, err := s.sealingKeys(0).List(t.Context()); !errors.Is(FaultOf(err), ErrKeyUnavailable) {
		t.Errorf("error %v, want ErrKeyUnavailable", err)
	}
	s.keys.failing.Store(false)
	mustList(t, s.sealingKeys(0))
}

// A private half opens only in its record, and is nowhere in clear.
func TestSealingKeyIsBoundToItsRecord(t *testing.T) {
	s := newStack(t, false)
	keys := s.sealingKeys(time.Nanosecond)
	mustList(t, keys)
	pair := mustList(t, keys)
	binding := sealing.Binding{Namespace: "ns", Name: "a"}
	sealTo := func(key SealingKey) sealing.Text {
		text, err := key.Public.Seal([]byte(canary), binding)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := sealing.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	text := sealTo(pair[1])
	private, err := keys.private(t.Context(), pair[1].ID)
	if err != nil {
		t.Fatal(err)
	}
	record := func(id string) []byte {
		got, err := s.etcd.KV.Get(t.Context(), sealingRoot(etcdPrefix)+id)
		if err != nil || len(got.Kvs) != 1 {
			t.Fatal(err)
		}
		return got.Kvs[0].Value
	}
	if bytes.Contains(record(pair[1].ID), private.Bytes()) {
		t.Fatal("the private half is in etcd in clear")
	}
	object, _, _ := splitFrame(record(pair[1].ID))
	_, stranger, _ := splitFrame(record(pair[0].ID))
	for name, planted := range map[string][]byte{
		"the private half of another key": appendFrame(nil, object, stranger),
		"the record of another key":       record(pair[0].ID),
		"no private half":                 appendFrame(nil, object, nil),
		"garbage":                         []byte("garbage"),
	} {
		if _, err := s.etcd.Put(t.Context(), sealingRoot(etcdPrefix)+pair[1].ID, string(planted)); err != nil {
			t.Fatal(err)
		}
		if v, err := keys.Open(t.Context(), text, binding); !errors.Is(FaultOf(err), ErrDamaged) {
			t.Errorf("%s: opened %t, error %v, want ErrDamaged", name, v != "", err)
		}
	}
	if v, err := keys.Open(t.Context(), sealTo(pair[0]), binding); err != nil || v != sensitive.Value(canary) {
		t.Errorf("the other key: %v", err)
	}
}

// stuck is a transformer that opens nothing until it is released.
type stuck struct {
	value.Transformer
	asked, release chan struct{}
}

func (s stuck) TransformFromStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, bool, error) {
	close(s.asked)
	<-s.release
	return s.Transformer.TransformFromStorage(ctx, data, dataCtx)
}

// While a KMS does not answer about one key, others that are known still open.
func TestSealingKeysDoNotWaitForEachOther(t *testing.T) {
	s := newStack(t, false)
	keys := s.sealingKeys(time.Nanosecond)
	mustList(t, keys)
	pair := mustList(t, keys)
	if _, err := keys.private(t.Context(), pair[0].ID); err != nil {
		t.Fatal(err)
	}
	kms := stuck{s.keys.Transformer, make(chan struct{}), make(chan struct{})}
	s.keys.Transformer = kms
	waits := make(chan error, 1)
	go func() {
		_, err := keys.private(t.Context(), pair[1].ID)
		waits <- err
	}()
	<-kms.asked
	if _, err := keys.private(bounded(t), pair[0].ID); err != nil {
		t.Error(err)
	}
	close(kms.release)
	if err := <-waits; err != nil {
		t.Error(err)
	}
}

// The origin of a value is stored with the version that it is about, and never served.
func TestOriginOfAValue(t *testing.T) {
	codec := NewCodec(objectCodec())
	obj := sealedObject("a")
	obj.SealedFrom = bytes.Repeat([]byte{7}, 32)
	obj.Annotations = map[string]string{"mine": "kept"}
	frame := encodeFrame(t, codec, obj)
	if len(obj.Annotations) != 1 || obj.SealedFrom == nil {
		t.Error("encoding changed the object")
	}
	got := decodeFrame(t, codec, frame)
	if !bytes.Equal(got.SealedFrom, obj.SealedFrom) || len(got.Annotations) != 1 {
		t.Errorf("read back as %x with annotations %v", got.SealedFrom, got.Annotations)
	}
	for name, note := range map[string]string{
		"of a version before": "9/" + strings.Repeat("07", 32), "without a version": strings.Repeat("07", 32),
		"of another length": "3/0707", "no hexadecimal": "3/" + strings.Repeat("zz", 32), "empty": "",
	} {
		older := sealedObject("a") // as a program writes it that carries annotations along
		older.Status.Version = 3
		older.Annotations = map[string]string{secret.AnnotationSealedFrom: note}
		if got := decodeFrame(t, codec, encodeFrame(t, codec, older)); got.SealedFrom != nil || len(got.Annotations) != 0 {
			t.Errorf("%s: origin %x, annotations %v", name, got.SealedFrom, got.Annotations)
		}
	}
}

func BenchmarkSealingKeysOpen(b *testing.B) {
	s := newStack(b, false)
	keys := s.sealingKeys(0)
	found, _, err := keys.List(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	binding := sealing.Binding{Namespace: "ns", Name: "a"}
	text, err := found[0].Public.Seal([]byte(canary), binding)
	if err != nil {
		b.Fatal(err)
	}
	parsed, err := sealing.Parse(text)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := keys.Open(b.Context(), parsed, binding); err != nil {
			b.Fatal(err)
		}
	}
}
