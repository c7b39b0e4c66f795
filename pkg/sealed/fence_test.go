// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

func (s *stack) retire(t testing.TB, key string) {
	t.Helper()
	if err := Retire(t.Context(), s.etcd.KV, etcdPrefix, key); err != nil {
		t.Fatal(err)
	}
}

// bounded ends a write that spins, so that the test fails with its error and not with the whole package.
func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// mustBeFenced asks that a write was refused because of a key, and wrote nothing.
func (s *stack) mustBeFenced(t testing.TB, what, key string, write func() error) {
	t.Helper()
	before := s.revision(t)
	err := write()
	retired, ok := errors.AsType[*RetiredError](err)
	operation, _ := errors.AsType[*OperationError](err)
	if !ok || retired.Key != key || !errors.Is(FaultOf(err), ErrKeyRetired) {
		t.Errorf("%s: error %v, want that %s is retired", what, err, key)
	} else if operation == nil || operation.Operation != Sealing || operation.Namespace+operation.Name == "" {
		t.Errorf("%s: the error does not name the object: %v", what, err)
	}
	if after := s.revision(t); after != before {
		t.Errorf("%s: etcd went from revision %d to %d", what, before, after)
	}
}

// TestFence: nothing is sealed under a retired key, whatever write seals. What only carries a ciphertext still works.
func TestFence(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj, gone := s.create(t, "a", canary), s.create(t, "gone", canary)
		s.retire(t, oldKey)
		ctx := bounded(t)
		for what, write := range map[string]func() error{
			"a create": func() error {
				fresh := newObject("b", canary)
				return s.Create(ctx, keyOf(fresh), fresh, &secret.SecureValue{}, 0)
			},
			"a create of a name that exists": func() error {
				fresh := newObject("a", canary)
				return s.Create(ctx, keyOf(fresh), fresh, &secret.SecureValue{}, 0)
			},
			"a new value":          func() error { _, err := s.update(ctx, obj, newValue("new")); return err },
			"a PUT with a value":   func() error { _, err := s.update(asPUT(ctx), obj, newValue("new")); return err },
			"a decrypter taken":    func() error { _, err := s.update(ctx, obj, narrow); return err },
			"a decrypter by a PUT": func() error { _, err := s.update(asPUT(ctx), obj, narrow); return err },
		} {
			s.mustBeFenced(t, what, oldKey, write)
		}
		s.mustOpenTo(t, obj, canary)

		s.mustUpdate(t, obj, relabel)
		if _, err := s.update(asPUT(ctx), obj, describe); err != nil {
			t.Errorf("a PUT without a value: %v", err)
		}
		if got := s.mustRewrap(t, obj); got.Rewrapped {
			t.Errorf("rewrapped under a retired key: %+v", got)
		}
		s.mustOpenTo(t, obj, canary)
		s.mustUpdate(t, gone, func(o *secret.SecureValue) { o.DeletionTimestamp = new(metav1.Now()) })
		if stored := s.stored(t, gone); len(stored.Sealed) != 0 {
			t.Error("a deleted object keeps its ciphertext")
		}
		if err := s.Delete(ctx, keyOf(obj), &secret.SecureValue{}, nil, storage.ValidateAllObjectFunc, nil,
			storage.DeleteOptions{}); err != nil {
			t.Errorf("a delete: %v", err)
		}

		s.rotate(t)
		again := s.create(t, "a", canary+"-again")
		if again.Status.Key != newKey {
			t.Errorf("sealed under %s", again.Status.Key)
		}
		if done, err := Unretire(ctx, s.etcd.KV, etcdPrefix, oldKey); err != nil || !done {
			t.Errorf("the key stays retired: %t, %v", done, err)
		}
	})
}

func narrow(o *secret.SecureValue) { o.Spec.Decrypters = []string{"k6"} }

// TestFenceOfARewrap: a server whose first key is retired moves nothing to it, and does not name it as a write key.
func TestFenceOfARewrap(t *testing.T) {
	s := newStack(t, false)
	obj := s.create(t, "a", canary)
	s.rotate(t)
	s.retire(t, newKey)
	s.mustBeFenced(t, "a rewrap", newKey, func() error {
		got, err := s.getter.Rewrap(bounded(t), keyOf(obj), nil, false)
		if got != (RewrapResult{}) {
			t.Errorf("a refused rewrap: %+v", got)
		}
		return err
	})
	s.mustBeFenced(t, "a dry run of an update that re-seals", newKey, func() error {
		return s.getter.CheckOpens(bounded(t), keyOf(obj))
	})
	s.mustBeFenced(t, "a dry run", newKey, func() error {
		got, err := s.getter.Rewrap(bounded(t), keyOf(obj), nil, true)
		if got != (RewrapResult{}) {
			t.Errorf("a refused dry run: %+v", got)
		}
		return err
	})
	s.mustOpenTo(t, obj, canary)
}

// TestFenceDuringAWrite: the key is retired between the read of a write and its transaction, and by a write whose race
// is lost as well.
func TestFenceDuringAWrite(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		turns := 0
		_, err := s.update(bounded(t), obj, func(o *secret.SecureValue) {
			if turns++; turns == 1 {
				s.mustUpdate(t, obj, relabel)
				s.retire(t, oldKey)
			}
			newValue("new")(o)
		})
		if !errors.Is(err, ErrKeyRetired) || turns != 1 {
			t.Errorf("%d attempts, error %v", turns, err)
		}
		s.mustOpenTo(t, obj, canary)
	})
}

// TestFenceOfASuggestion: a PUT that starts from the watch cache is judged by what it does, in every attempt: one that
// changes nothing but labels carries, one with a value seals, whatever the cache suggested.
func TestFenceOfASuggestion(t *testing.T) {
	s := newStack(t, true)
	obj := s.create(t, "a", canary)
	suggestion := obj.DeepCopy()
	s.mustUpdate(t, obj, describe) // the suggestion is older than the record
	s.retire(t, oldKey)
	put := func(change func(*secret.SecureValue)) error {
		return s.getter.store.GuaranteedUpdate(asPUT(bounded(t)), keyOf(obj), &secret.SecureValue{}, false, nil,
			storage.SimpleUpdate(func(in runtime.Object) (runtime.Object, error) {
				change(in.(*secret.SecureValue))
				return in, nil
			}), suggestion.DeepCopy())
	}
	if err := put(relabel); err != nil {
		t.Errorf("a PUT that carries: %v", err)
	}
	s.mustBeFenced(t, "a PUT with a value", oldKey, func() error { return put(newValue("new")) })
	s.mustBeFenced(t, "a PUT that takes a decrypter", oldKey, func() error { return put(narrow) })
	s.mustOpenTo(t, obj, canary)
}

// TestFenceOfAKMS: the record of a plugin retires all its keys, that of one key only this one.
func TestFenceOfAKMS(t *testing.T) {
	s := newStack(t, false)
	s.keys.Transformer, s.keys.Configuration = newTransformer(t, "kms"), newConfiguration(t, "kms")
	key := s.create(t, "a", canary).Status.Key
	create := func() error {
		fresh := newObject("b", canary)
		return s.Create(bounded(t), keyOf(fresh), fresh, &secret.SecureValue{}, 0)
	}
	for _, retired := range []string{"kms/vault1", key} {
		s.retire(t, retired)
		s.mustBeFenced(t, retired, key, create)
		if _, err := Unretire(t.Context(), s.etcd.KV, etcdPrefix, retired); err != nil {
			t.Fatal(err)
		}
	}
	s.retire(t, "kms/vault1/00000000")
	s.retire(t, "kms/vault")
	if err := create(); err != nil {
		t.Errorf("another key is retired: %v", err)
	}
}

// TestUndeclaredWritesAreRefused: a write path that forgets to declare what it writes must not pass the fence.
func TestUndeclaredWritesAreRefused(t *testing.T) {
	etcd := runEtcd(t)
	f := &fence{etcd, retiredRoot(etcdPrefix)}
	declared, _ := newWrite(t.Context())
	for name, ctx := range map[string]context.Context{"no declaration": t.Context(), "an empty one": declared} {
		_, err := f.OptimisticPut(ctx, "/a", []byte("b"), 0, kubernetes.PutOptions{})
		if found, _ := etcd.KV.Get(t.Context(), "/a"); !errors.Is(err, errUndeclared) || found.Count != 0 {
			t.Errorf("%s: error %v, %d records", name, err, found.Count)
		}
	}
}

// TestFenceAnswersAsUpstream: apart from a retired key, a refused write ends as without the fence.
func TestFenceAnswersAsUpstream(t *testing.T) {
	etcd := runEtcd(t)
	f := &fence{etcd, retiredRoot(etcdPrefix)}
	ctx, w := newWrite(bounded(t))
	w.sealed(oldKey)
	put := func(value string, revision int64, get bool) kubernetes.PutResponse {
		resp, err := f.OptimisticPut(ctx, "/a", []byte(value), revision, kubernetes.PutOptions{GetOnFailure: get})
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	if lost := put("x", 7, true); lost.Succeeded || lost.KV != nil {
		t.Errorf("an update of an absent record: %+v", lost)
	}
	first := put("one", 0, false)
	if !first.Succeeded || first.Revision == 0 {
		t.Errorf("a create: %+v", first)
	}
	if lost := put("two", 0, false); lost.Succeeded || lost.KV != nil {
		t.Errorf("a second create: %+v", lost)
	}
	if lost := put("two", 1, true); lost.Succeeded || lost.KV == nil || string(lost.KV.Value) != "one" ||
		lost.KV.ModRevision != first.Revision {
		t.Errorf("a lost race: %+v", lost)
	}
	if second := put("two", first.Revision, true); !second.Succeeded || second.Revision <= first.Revision {
		t.Errorf("an update: %+v", second)
	}
}
