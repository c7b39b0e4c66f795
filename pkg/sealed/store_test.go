// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

func relabel(o *secret.SecureValue) { o.Labels = map[string]string{"team": "b"} }

func newValue(v string) func(*secret.SecureValue) {
	return func(o *secret.SecureValue) {
		o.Spec.Value = sensitive.New(v)
		o.Status.Version++
	}
}

func TestCreateSealsAndReturnsNeither(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj, out := newObject("a", canary), &secret.SecureValue{}
		before := obj.DeepCopy()
		if err := s.Create(t.Context(), keyOf(obj), obj, out, 0); err != nil {
			t.Fatal(err)
		}
		mustBeClean(t, "the created object", out)
		if diff := cmp.Diff(before.Spec.Value.Expose(), obj.Spec.Value.Expose()); diff != "" || obj.Sealed != nil {
			t.Error("Create changed its argument")
		}
		s.mustOpenTo(t, obj, canary)
		s.mustHoldNoCanary(t)
		if err := s.Create(t.Context(), keyOf(obj), obj, nil, 0); !storage.IsExist(err) {
			t.Errorf("second Create: %v", err)
		}
	})
}

func TestCreateWithoutValueIsRefused(t *testing.T) {
	s := newStack(t, false)
	obj := newObject("a", "")
	obj.Spec.Value = nil
	if err := s.Create(t.Context(), keyOf(obj), obj, &secret.SecureValue{}, 0); !errors.Is(err, ErrNoValue) {
		t.Errorf("Create: %v, want ErrNoValue", err)
	}
	err := s.GuaranteedUpdate(t.Context(), keyOf(obj), &secret.SecureValue{}, true, nil,
		storage.SimpleUpdate(func(runtime.Object) (runtime.Object, error) { return obj, nil }), nil)
	if !errors.Is(err, ErrNoValue) {
		t.Errorf("GuaranteedUpdate that creates: %v, want ErrNoValue", err)
	}
	if s.raw(t, obj) != nil {
		t.Error("something was stored")
	}
}

func TestUpdateWithoutValueKeepsCiphertext(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		before := s.stored(t, obj).Sealed
		for _, change := range []func(*secret.SecureValue){
			relabel,
			func(o *secret.SecureValue) { o.Spec.Description = "edited" },
			func(o *secret.SecureValue) { o.Spec.Decrypters = []string{"synthetic", "k6"} },
			func(o *secret.SecureValue) { o.Finalizers = []string{"example.com/wait"} },
			func(o *secret.SecureValue) { o.Sealed, o.Status.Key = []byte("k8s:enc:forged"), "forged" },
		} {
			out := s.mustUpdate(t, obj, change)
			mustBeClean(t, "the updated object", out)
			if !bytes.Equal(before, s.stored(t, obj).Sealed) {
				t.Error("the ciphertext changed")
			}
		}
		s.mustOpenTo(t, obj, canary)
		s.mustHoldNoCanary(t)
	})
}

// TestUpdateIgnoresCachedSuggestion: the watch cache has no ciphertext, so an update based on its object erased it.
func TestUpdateIgnoresCachedSuggestion(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		s.list(t, obj.ResourceVersion) // the cache has seen it
		suggestion, out := s.get(t, obj, ""), &secret.SecureValue{}
		err := s.GuaranteedUpdate(t.Context(), keyOf(obj), out, false, nil,
			storage.SimpleUpdate(func(in runtime.Object) (runtime.Object, error) {
				relabel(in.(*secret.SecureValue))
				return in, nil
			}), suggestion)
		if err != nil {
			t.Fatal(err)
		}
		if out.Labels["team"] != "b" {
			t.Errorf("labels %v", out.Labels)
		}
		s.mustOpenTo(t, obj, canary)
	})
}

func TestUpdateFunctionSeesNoCiphertext(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		s.mustUpdate(t, obj, func(o *secret.SecureValue) { mustBeClean(t, "the input of an update", o) })
		validate := func(_ context.Context, o runtime.Object) error {
			mustBeClean(t, "the input of a deletion check", o.(*secret.SecureValue))
			return nil
		}
		out := &secret.SecureValue{}
		if err := s.Delete(t.Context(), keyOf(obj), out, nil, validate, nil, storage.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	})
}

func TestUpdateWithValue(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		old := s.stored(t, obj)
		out := s.mustUpdate(t, obj, newValue(canary+"-new"))
		mustBeClean(t, "the updated object", out)
		if out.Status.Version != 2 {
			t.Errorf("version %d", out.Status.Version)
		}
		s.mustOpenTo(t, obj, canary+"-new")
		s.mustHoldNoCanary(t)

		// The same value again is a new version, so that a writer does not learn whether a guess was right.
		revision := s.revision(t)
		s.mustUpdate(t, obj, newValue(canary+"-new"))
		if s.revision(t) == revision {
			t.Error("the same value again was not written")
		}
		_ = mustNotOpen(t, s.sealer, withSealed(s.stored(t, obj), old.Sealed))
	})
}

func TestNoOpUpdateWritesNothing(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		revision := s.revision(t)
		out := s.mustUpdate(t, obj, func(*secret.SecureValue) {})
		mustBeClean(t, "the answer to a no-op", out)
		s.mustUpdate(t, obj, func(o *secret.SecureValue) { o.Status.Key = "anything" })
		if got := s.revision(t); got != revision || out.ResourceVersion != obj.ResourceVersion {
			t.Errorf("revision %d after a no-op, want %d", got, revision)
		}
	})
}

func TestDecrypterTakenAwayResealsInSameWrite(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		before, revision := s.stored(t, obj), s.revision(t)
		out := s.mustUpdate(t, obj, func(o *secret.SecureValue) { o.Spec.Decrypters = o.Spec.Decrypters[:1] })
		mustBeClean(t, "the updated object", out)
		if got := s.revision(t); got != revision+1 {
			t.Errorf("%d writes, want 1", got-revision)
		}
		s.mustOpenTo(t, obj, canary)
		s.mustHoldNoCanary(t)
		_ = mustNotOpen(t, s.sealer, withSealed(s.stored(t, obj), before.Sealed))
	})
}

// TestUpdateMutatedInPlace: what the ciphertext is bound to is noted before the update function runs on its input.
func TestUpdateMutatedInPlace(t *testing.T) {
	s := newStack(t, false)
	obj := s.create(t, "a", canary)
	s.mustUpdate(t, obj, func(o *secret.SecureValue) { o.Spec.Decrypters[0] = "gsm" })
	s.mustOpenTo(t, obj, canary)
}

func TestKeyOutOfReach(t *testing.T) {
	writes := map[string]func(*secret.SecureValue){
		"a new value":       newValue(canary + "-new"),
		"a decrypter less":  func(o *secret.SecureValue) { o.Spec.Decrypters = o.Spec.Decrypters[:1] },
		"a new version":     func(o *secret.SecureValue) { o.Status.Version++ },
		"a value and label": func(o *secret.SecureValue) { relabel(o); newValue(canary)(o) },
	}
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		record, revision := s.raw(t, obj), s.revision(t)
		s.keys.failing.Store(true)
		for name, change := range writes {
			_, err := s.update(t.Context(), obj, change)
			mustBeOperationError(t, name, err)
		}
		other := newObject("b", canary)
		mustBeOperationError(t, "create", s.Create(t.Context(), keyOf(other), other, &secret.SecureValue{}, 0))
		if !bytes.Equal(record, s.raw(t, obj)) || s.revision(t) != revision {
			t.Error("something was written")
		}
		s.keys.failing.Store(false)
		s.mustOpenTo(t, obj, canary)
	})
}

func mustBeOperationError(t *testing.T, what string, err error) {
	t.Helper()
	var operation *OperationError
	if !errors.As(err, &operation) || !errors.Is(err, errKeyGone) {
		t.Errorf("%s: error %v, want an *OperationError", what, err)
	} else if strings.Contains(err.Error(), canary) {
		t.Errorf("%s: the error quotes the value", what)
	}
}

func TestDeleteRemovesTheOnlyKey(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		s.list(t, obj.ResourceVersion) // the cache has seen it: it becomes the suggestion
		out := &secret.SecureValue{}
		if err := s.Delete(t.Context(), keyOf(obj), out, nil, storage.ValidateAllObjectFunc, s.get(t, obj, ""),
			storage.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		mustBeClean(t, "the deleted object", out)
		resp, err := s.etcd.KV.Get(t.Context(), etcdPrefix+resourcePrefix, clientv3.WithPrefix())
		if err != nil || resp.Count != 0 {
			t.Errorf("%d keys are left, %v", resp.Count, err)
		}
	})
}

func TestDeleteWithStaleSuggestion(t *testing.T) {
	s := newStack(t, false)
	obj := s.create(t, "a", canary)
	s.mustUpdate(t, obj, relabel)
	out := &secret.SecureValue{}
	if err := s.Delete(t.Context(), keyOf(obj), out, nil, storage.ValidateAllObjectFunc, obj,
		storage.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, "the deleted object", out)
	if out.Labels["team"] != "b" {
		t.Errorf("deleted %v, not what was stored", out.Labels)
	}
}
