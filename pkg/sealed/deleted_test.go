// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"errors"
	"strconv"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// markDeleted is what upstream does to an object whose finalizers are pending.
func markDeleted(o *secret.SecureValue) {
	now := metav1.Unix(1_700_000_000, 0)
	o.DeletionTimestamp, o.DeletionGracePeriodSeconds = &now, new(int64)
	o.Finalizers = []string{"example.com/hold"}
}

// createDeleted stores an object that is deleted and waits for a finalizer.
func (s *stack) createDeleted(t testing.TB, name string) *secret.SecureValue {
	t.Helper()
	return s.mustUpdate(t, s.create(t, name, canary), markDeleted)
}

// putOlder stores what a version of this program from before this rule left: a deleted object with its ciphertext.
func (s *stack) putOlder(t testing.TB, name string) *secret.SecureValue {
	t.Helper()
	obj := s.create(t, name, canary)
	record := s.stored(t, obj)
	markDeleted(record)
	s.put(t, obj, encodeFrame(t, s.codec, record))
	return obj
}

// scan returns what a scan and a verification say of the only record.
func (s *stack) scan(t testing.TB) (scanned, verified Scanned) {
	t.Helper()
	_, err := NewScanner(s.etcd.KV, objectCodec(), etcdPrefix).Scan(t.Context(), 0,
		func(record Scanned, _ int64) { scanned = record })
	if err != nil {
		t.Fatal(err)
	}
	key := RecordRoot(etcdPrefix) + scanned.Namespace + "/" + scanned.Name
	record, err := s.etcd.KV.Get(t.Context(), key)
	if err != nil || len(record.Kvs) != 1 {
		t.Fatalf("reading %s: %v", key, err)
	}
	return scanned, NewVerifier(objectCodec(), etcdPrefix, s.keys, s.keys).Verify(t.Context(), key, record.Kvs[0].Value)
}

// wantEmptied asks that a record has neither a ciphertext nor a fault.
func (s *stack) wantEmptied(t testing.TB, obj *secret.SecureValue) {
	t.Helper()
	if record := s.stored(t, obj); record.DeletionTimestamp == nil || len(record.Sealed) != 0 ||
		record.Status.Key != "" {
		t.Errorf("the record has a ciphertext of %d bytes under %q, deleted %v", len(record.Sealed), record.Status.Key,
			record.DeletionTimestamp)
	}
	s.wantDeleted(t)
}

// wantDeleted asks that readers of all records count the only one as deleted.
func (s *stack) wantDeleted(t testing.TB) {
	t.Helper()
	scanned, verified := s.scan(t)
	for what, found := range map[string]Scanned{"scan": scanned, "verification": verified} {
		if !found.Deleted || found.Key != "" || found.Err != nil {
			t.Errorf("the %s says %+v, want a deleted record", what, found)
		}
	}
}

// TestDeletionDropsTheCiphertext looks into etcd at the revision of the write that sets deletionTimestamp, which needs
// no key.
func TestDeletionDropsTheCiphertext(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		w := s.watch(t, storage.ListOptions{ResourceVersion: obj.ResourceVersion, Predicate: storage.Everything})
		s.keys.failing.Store(true)
		out := s.mustUpdate(t, obj, markDeleted)
		if out.Status.Key != "" || out.Status.Version != 1 || out.Sealed != nil {
			t.Errorf("the answer has key %q and version %d", out.Status.Key, out.Status.Version)
		}
		revision, _ := strconv.ParseInt(out.ResourceVersion, 10, 64)
		record, err := s.etcd.KV.Get(t.Context(), etcdPrefix+keyOf(obj), clientv3.WithRev(revision))
		if err != nil || len(record.Kvs) != 1 || record.Kvs[0].ModRevision != revision || record.Kvs[0].Version != 2 {
			t.Fatalf("etcd at revision %d: %v, %v", revision, record, err)
		}
		if bytes.Contains(record.Kvs[0].Value, []byte(envelopePrefix)) {
			t.Error("the ciphertext is still there")
		}
		if kind, seen := next(t, w); kind != watch.Modified || seen.DeletionTimestamp == nil || seen.Status.Key != "" {
			t.Errorf("the watch says %s with key %q", kind, seen.Status.Key)
		}
		s.wantEmptied(t, obj)
	})
}

// TestDeletedTakesNoValue: what is written to a deleted object needs no value, and must not have one.
func TestDeletedTakesNoValue(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.createDeleted(t, "a")
		s.keys.failing.Store(true) // nothing is sealed or opened
		for _, ctx := range []context.Context{t.Context(), asPUT(t.Context())} {
			for _, change := range []func(*secret.SecureValue){
				func(o *secret.SecureValue) {
					o.Labels = map[string]string{"put": strconv.FormatInt(s.revision(t),
						10)}
				},
				func(o *secret.SecureValue) { o.Spec.Decrypters = []string{strconv.FormatInt(s.revision(t), 10)} },
			} {
				if _, err := s.update(ctx, obj, change); err != nil {
					t.Errorf("an update without a value: %v", err)
				}
			}
			revision := s.revision(t)
			if _, err := s.update(ctx, obj, newValue(canary)); !errors.Is(err, ErrDeleted) {
				t.Errorf("a new value: %v, want ErrDeleted", err)
			}
			if _, err := s.update(ctx, obj, func(*secret.SecureValue) {}); err != nil || s.revision(t) != revision {
				t.Errorf("an update that changes nothing wrote something (%v)", err)
			}
		}
		s.wantEmptied(t, obj)
		validate := storage.ValidateAllObjectFunc
		if err := s.Delete(t.Context(), keyOf(obj), &secret.SecureValue{}, nil, validate, nil,
			storage.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// TestRewrapLeavesDeletedAlone: a rewrap still tells which key seals, and writes nothing.
func TestRewrapLeavesDeletedAlone(t *testing.T) {
	s := newStack(t, false)
	obj := s.createDeleted(t, "a")
	s.rotate(t)
	revision := s.revision(t)
	for _, dryRun := range []bool{true, false} {
		result, err := s.getter.Rewrap(t.Context(), keyOf(obj), nil, dryRun)
		if want := (RewrapResult{WriteKey: newKey}); err != nil || result != want {
			t.Errorf("got %+v and %v, want %+v", result, err, want)
		}
	}
	if s.revision(t) != revision {
		t.Error("a deleted object was written")
	}
}

// TestOlderDeletedRecord: a ciphertext that an older version of this program left does not open, and goes with the next
// write.
func TestOlderDeletedRecord(t *testing.T) {
	for name, write := range map[string]func(*testing.T, *stack, *secret.SecureValue){
		"label": func(t *testing.T, s *stack, obj *secret.SecureValue) { s.mustUpdate(t, obj, relabel) },
		"no-op": func(t *testing.T, s *stack, obj *secret.SecureValue) {
			s.mustUpdate(t, obj, func(*secret.SecureValue) {})
		},
		"no-op PUT": func(t *testing.T, s *stack, obj *secret.SecureValue) {
			if _, err := s.update(asPUT(t.Context()), obj, func(*secret.SecureValue) {}); err != nil {
				t.Error(err)
			}
		},
		"rewrap": func(t *testing.T, s *stack, obj *secret.SecureValue) {
			if got, want := s.mustRewrap(t, obj), (RewrapResult{WriteKey: oldKey}); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			forBoth(t, func(t *testing.T, s *stack) {
				obj := s.putOlder(t, "a")
				opener := NewOpener(s.etcd.Client, etcdPrefix, s.codec, s.sealer)
				reading, err := opener.Read(t.Context(), "ns", []string{"a"})
				if err != nil {
					t.Fatal(err)
				}
				if v, err := opener.Open(t.Context(), &reading.Records[0]); v != "" || !errors.Is(err, ErrDeleted) {
					t.Errorf("Open: %v, want ErrDeleted", err)
				}
				s.wantDeleted(t)
				if result, err := s.getter.Rewrap(t.Context(), keyOf(obj), nil, true); err != nil ||
					result.Key != oldKey {
					t.Errorf("a dry run of a rewrap: %+v, %v", result, err)
				}
				if len(s.stored(t, obj).Sealed) == 0 {
					t.Fatal("a read or a dry run wrote something")
				}
				write(t, s, obj)
				s.wantEmptied(t, obj)
			})
		})
	}
}

// TestNoCiphertextIsDamage unless the object is deleted.
func TestNoCiphertextIsDamage(t *testing.T) {
	s := newStack(t, false)
	obj := s.create(t, "a", canary)
	s.put(t, obj, encodeFrame(t, s.codec, withSealed(s.stored(t, obj), nil)))
	scanned, verified := s.scan(t)
	for what, found := range map[string]Scanned{"scan": scanned, "verification": verified} {
		if found.Deleted || !errors.Is(found.Err, ErrNoEnvelope) {
			t.Errorf("the %s says %+v, want ErrNoEnvelope", what, found)
		}
	}
	if _, err := s.update(t.Context(), obj, relabel); !errors.Is(err, ErrNoValue) {
		t.Errorf("an update: %v, want ErrNoValue", err)
	}
}
