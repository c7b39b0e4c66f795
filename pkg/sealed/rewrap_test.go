// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/keys"
)

const (
	oldKey = "aesgcm/key1"
	newKey = "aesgcm/key2"
)

// rotate puts a new key in front of the old one.
func (s *stack) rotate(t testing.TB) {
	s.keys.Transformer, s.keys.Configuration = newTransformer(t, "rotated"), newConfiguration(t, "rotated")
}

func (s *stack) mustRewrap(t testing.TB, obj *secret.SecureValue) RewrapResult {
	t.Helper()
	result, err := s.getter.Rewrap(t.Context(), keyOf(obj), nil, false)
	if err != nil {
		t.Fatalf("Rewrap: %v", err)
	}
	return result
}

func TestRewrapChangesTheCiphertextAlone(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		before := s.raw(t, obj)
		s.rotate(t)
		if got, want := s.mustRewrap(t, obj),
			(RewrapResult{Key: newKey, WriteKey: newKey, Rewrapped: true}); got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
		oldObject, oldSealed, _ := splitFrame(before)
		newObject, newSealed, err := splitFrame(s.raw(t, obj))
		if err != nil || !bytes.Equal(oldObject, newObject) {
			t.Errorf("the object's part of the record changed (%v)", err)
		}
		if bytes.Equal(oldSealed, newSealed) || KeyName(newSealed, nil) != newKey {
			t.Errorf("the ciphertext is under %s", KeyName(newSealed, nil))
		}
		s.mustOpenTo(t, obj, canary)
		s.mustHoldNoCanary(t)

		// Reads follow, from the cache too.
		err = wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, time.Minute, true,
			func(context.Context) (bool, error) {
				list := s.list(t, "0") //nolint:contextcheck // the test's own
				return len(list) == 1 && list[0].Status.Key == newKey, nil
			})
		if err != nil {
			t.Error("the list does not show the new key")
		}
	})
}

func TestRewrapOfAFreshValueWritesNothing(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		before := s.revision(t)
		if got, want := s.mustRewrap(t, obj), (RewrapResult{Key: oldKey, WriteKey: oldKey}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
		s.rotate(t)
		result, err := s.getter.Rewrap(t.Context(), keyOf(obj), nil, true)
		if want := (RewrapResult{Key: oldKey, WriteKey: newKey}); err != nil || result != want {
			t.Errorf("dry run: got %+v, %v, want %+v", result, err, want)
		}
		if after := s.revision(t); after != before {
			t.Errorf("etcd went from revision %d to %d", before, after)
		}
	})
}

// A value that does not open is refused and left as it is, whatever the reason. A dry run ends as the rewrap does, and
// names the write key.
func TestRewrapRefusals(t *testing.T) {
	s := newStack(t, false)
	obj := s.create(t, "a", canary)
	opening := func(err error) bool {
		var operation *OperationError
		return errors.As(err, &operation) && operation.Operation == Opening && operation.Name == "a"
	}
	rewrap := func(preconditions *storage.Preconditions) error {
		dry, dryErr := s.getter.Rewrap(t.Context(), keyOf(obj), preconditions, true)
		_, err := s.getter.Rewrap(t.Context(), keyOf(obj), preconditions, false)
		if err == nil || fmt.Sprint(dryErr) != fmt.Sprint(err) || opening(err) && dry.WriteKey != newKey {
			t.Errorf("a dry run ends with %+v, %v, a rewrap with %v", dry, dryErr, err)
		}
		checked := s.getter.CheckOpens(t.Context(), keyOf(obj))
		if preconditions == nil && fmt.Sprint(checked) != fmt.Sprint(err) {
			t.Errorf("CheckOpens says %v, a rewrap %v", checked, err)
		}
		return err
	}
	record := s.raw(t, obj)
	spoiled := bytes.Clone(record)
	spoiled[len(spoiled)-1] ^= 1
	noCiphertext := s.stored(t, obj)
	noCiphertext.Sealed = nil

	s.rotate(t)
	s.put(t, obj, spoiled)
	if err := rewrap(nil); !opening(err) || strings.Contains(err.Error(), canary) {
		t.Errorf("changed ciphertext: %v", err)
	}
	if !bytes.Equal(s.raw(t, obj), spoiled) {
		t.Error("the record was written")
	}
	s.put(t, obj, encodeFrame(t, s.codec, noCiphertext))
	if err := rewrap(nil); !opening(err) || !errors.Is(err, ErrNotEncrypted) {
		t.Errorf("no ciphertext: %v", err)
	}
	s.put(t, obj, record)
	other := types.UID("another")
	if err := rewrap(&storage.Preconditions{UID: &other}); !storage.IsInvalidObj(err) {
		t.Errorf("another UID: %v", err)
	}
	s.keys.failing.Store(true)
	var operation *OperationError
	if err := rewrap(nil); !errors.As(err, &operation) || !errors.Is(err, errKeyGone) {
		t.Errorf("key unavailable: %v", err)
	}
	s.keys.failing.Store(false)
	calls := s.keys.calls.Load()
	if _, err := s.getter.Rewrap(t.Context(), keyOf(obj), nil, true); err != nil || s.keys.calls.Load() != calls+1 {
		t.Errorf("a dry run of a value that opens: %v after %d calls of the transformer, want one", err,
			s.keys.calls.Load()-calls)
	}
	if _, err := s.getter.Rewrap(t.Context(), resourcePrefix+"/ns/absent", nil, false); !storage.IsNotFound(err) {
		t.Errorf("absent: %v", err)
	}
	if !bytes.Equal(s.raw(t, obj), record) {
		t.Error("a refused rewrap wrote")
	}
}

// TestRewrapRacesWriters: rewraps among writers of values and labels lose nobody's write.
func TestRewrapRacesWriters(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		obj := s.create(t, "a", canary)
		s.rotate(t)
		const rounds = 20
		var group sync.WaitGroup
		group.Go(func() {
			for r := range rounds {
				if _, err := s.update(t.Context(), obj, newValue(fmt.Sprintf("%s-%d", canary, r))); err != nil {
					t.Errorf("writing a value: %v", err)
				}
			}
		})
		group.Go(func() {
			for r := range rounds {
				if _, err := s.update(t.Context(), obj, edit(0, r)); err != nil {
					t.Errorf("editing: %v", err)
				}
			}
		})
		for range 2 {
			group.Go(func() {
				for range rounds {
					if _, err := s.getter.Rewrap(t.Context(), keyOf(obj), nil, false); err != nil {
						t.Errorf("rewrapping: %v", err)
					}
				}
			})
		}
		group.Wait()
		s.mustOpenTo(t, obj, fmt.Sprintf("%s-%d", canary, rounds-1))
		if got := s.stored(t, obj); got.Status.Version != rounds+1 || KeyName(got.Sealed, nil) != newKey {
			t.Errorf("version %d under %s", got.Status.Version, KeyName(got.Sealed, nil))
		}
	})
}

// The write key is named without sealing anything, by the configuration or by what the KMS has confirmed.
func TestWriteKey(t *testing.T) {
	for provider, want := range map[string]string{
		"aesgcm": oldKey, "rotated": newKey, "secretbox": "secretbox/key1", "aescbc": "aescbc/key1",
		"kms": "kms/vault1/" + shortHash("1"),
	} {
		p, err := keys.New(t.Context(), keys.Config{File: writeConfiguration(t, provider), APIServerID: "test"})
		if err != nil {
			t.Fatal(err)
		}
		keys := &switchable{Transformer: p.Transformer()}
		s := NewSealer(keys, p)
		if got, err := s.WriteKey(); err != nil || got != want {
			t.Errorf("%s: got %q, %v, want %q", provider, got, err, want)
		}
		if calls := keys.calls.Load(); calls != 0 {
			t.Errorf("%s: %d seals to learn the name", provider, calls)
		}
		if got := KeyName(mustSeal(t, s, newObject("a", canary)).Sealed, nil); got != want {
			t.Errorf("%s: sealed under %q, want %q", provider, got, want)
		}
	}
	if got, err := newSealer(t, "kms").WriteKey(); !errors.Is(err, ErrKeyUnavailable) {
		t.Errorf("a KMS that has confirmed nothing: got %q, %v", got, err)
	}
}
