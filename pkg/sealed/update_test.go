// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/storage"
	storagetesting "k8s.io/apiserver/pkg/storage/testing"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// asPUT is the context in which the server handles a PUT.
func asPUT(ctx context.Context) context.Context {
	return request.WithRequestInfo(ctx, &request.RequestInfo{Verb: "update"})
}

func describe(o *secret.SecureValue) { o.Spec.Description = "between" }

func widen(o *secret.SecureValue) { o.Spec.Decrypters = []string{"k6", "synthetic", "another"} }

// suggested is a record and what a watch cache suggests in its place.
type suggested struct {
	*suiteStack
	key        string
	suggestion *secret.SecureValue
}

// newSuggested stores an object and, with between, changes it where the suggestion does not see it.
func newSuggested(t *testing.T, between func(*secret.SecureValue)) *suggested {
	t.Helper()
	s := &suggested{suiteStack: newSuite(t), key: podPrefix + "/a", suggestion: &secret.SecureValue{}}
	if err := s.raw.Create(t.Context(), s.key, newObject("a", canary), s.suggestion, 0); err != nil {
		t.Fatal(err)
	}
	if between != nil {
		if _, err := s.change(t.Context(), between); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (s *suggested) change(ctx context.Context, change func(*secret.SecureValue)) (*secret.SecureValue, error) {
	out := &secret.SecureValue{}
	err := s.raw.GuaranteedUpdate(ctx, s.key, out, false, nil,
		storage.SimpleUpdate(func(in runtime.Object) (runtime.Object, error) {
			change(in.(*secret.SecureValue))
			return in, nil
		}), s.suggestion.DeepCopy())
	return out, err
}

// record reads what is stored, with its ciphertext.
func (s *suggested) record(t *testing.T) *secret.SecureValue {
	t.Helper()
	record := &secret.SecureValue{}
	if err := s.raw.raw.Get(t.Context(), s.key, storage.GetOptions{}, record); err != nil {
		t.Fatal(err)
	}
	return record
}

func (s *suggested) reads() uint64 {
	return s.client.KV.(*storagetesting.KVRecorder).GetReadsAndReset()
}

// TestUpdateOfASuggestion updates what the watch cache suggests, be it the record or older. What is stored is the
// change to the record, it opens to the value that it should, and an update that brings its value reads nothing.
func TestUpdateOfASuggestion(t *testing.T) {
	for name, test := range map[string]struct {
		between, change func(*secret.SecureValue)
		reads           uint64
		version         int64
		opensTo         string
	}{
		"value":                    {nil, newValue("new"), 0, 2, "new"},
		"value, behind":            {describe, newValue("new"), 0, 2, "new"},
		"value, behind a value":    {newValue("between"), newValue("new"), 0, 3, "new"},
		"no value":                 {nil, relabel, 1, 1, canary},
		"no value, behind":         {describe, relabel, 2, 1, canary},
		"no value, behind a value": {newValue("between"), relabel, 2, 2, "between"},
		"re-sealed":                {nil, widen, 1, 1, canary},
		"re-sealed, stale":         {newValue("between"), widen, 2, 2, "between"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSuggested(t, test.between)
			s.reads()
			out, err := s.change(asPUT(t.Context()), test.change)
			if err != nil {
				t.Fatal(err)
			}
			if reads := s.reads(); reads != test.reads {
				t.Errorf("%d reads, want %d", reads, test.reads)
			}
			mustBeClean(t, "the updated object", out)
			record := s.record(t)
			if v, err := s.sealer.Open(t.Context(), record); err != nil || v.Expose() != test.opensTo {
				t.Errorf("opens to %q with error %v, want %q", v.Expose(), err, test.opensTo)
			}
			want := s.suggestion.DeepCopy()
			if test.between != nil {
				test.between(want)
			}
			test.change(want)
			want.Spec.Value, want.ResourceVersion, record.Sealed = nil, record.ResourceVersion, nil
			if diff := cmp.Diff(want, record); diff != "" || record.Status.Version != test.version {
				t.Errorf("version %d is stored, want %d; %s", record.Status.Version, test.version, diff)
			}
		})
	}
}

// TestSameUpdateOfASuggestion: an update that changes nothing is not written, and answers what is stored.
func TestSameUpdateOfASuggestion(t *testing.T) {
	for name, between := range map[string]func(*secret.SecureValue){"the record": nil, "behind": describe} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSuggested(t, between)
			before := s.record(t)
			out, err := s.change(asPUT(t.Context()), func(*secret.SecureValue) {})
			if err != nil {
				t.Fatal(err)
			}
			mustBeClean(t, "the answer", out)
			out.Sealed = before.Sealed
			if diff := cmp.Diff(before, out) + cmp.Diff(before, s.record(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestRefusedUpdateOfASuggestion: nothing is stored when the value cannot be re-sealed, when there is no record, or
// none with a value.
func TestRefusedUpdateOfASuggestion(t *testing.T) {
	t.Run("deleted", func(t *testing.T) {
		s := newSuggested(t, nil)
		if err := s.raw.Delete(t.Context(), s.key, &secret.SecureValue{}, nil, storage.ValidateAllObjectFunc, nil,
			storage.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		for _, change := range []func(*secret.SecureValue){relabel, newValue("new")} {
			if _, err := s.change(asPUT(t.Context()), change); !storage.IsNotFound(err) {
				t.Errorf("error %v, want not found", err)
			}
		}
	})
	t.Run("no value stored", func(t *testing.T) {
		s := newSuggested(t, nil)
		err := s.raw.raw.GuaranteedUpdate(t.Context(), s.key, &secret.SecureValue{}, false, nil,
			storage.SimpleUpdate(func(in runtime.Object) (runtime.Object, error) {
				in.(*secret.SecureValue).Sealed = nil
				return in, nil
			}), nil)
		if err != nil {
			t.Fatal(err)
		}
		s.suggestion = s.record(t)
		if _, err := s.change(asPUT(t.Context()), relabel); !errors.Is(err, ErrNoValue) {
			t.Errorf("error %v, want ErrNoValue", err)
		}
	})
}
