// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"testing"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

func mustSelector(s string) labels.Selector {
	selector, err := labels.Parse(s)
	if err != nil {
		panic(err)
	}
	return selector
}

// TestAttackerWithEtcd: none of these records, written past the server, opens.
func TestAttackerWithEtcd(t *testing.T) {
	s := newStack(t, false)
	a, b := s.create(t, "a", canary+"-a"), s.create(t, "b", canary+"-b")
	storedA, storedB := s.stored(t, a), s.stored(t, b)
	s.mustUpdate(t, a, newValue(canary+"-a2"))
	newerA := s.stored(t, a)

	for name, tc := range map[string]struct {
		at     *secret.SecureValue
		object *secret.SecureValue
		sealed []byte
	}{
		"b's ciphertext under a":              {a, newerA, storedB.Sealed},
		"a's ciphertext under b":              {b, storedB, newerA.Sealed},
		"older ciphertext under newer record": {a, newerA, storedA.Sealed},
		"newer ciphertext under older record": {a, storedA, newerA.Sealed},
		"a decrypter added": {a,
			changed(newerA, func(o *secret.SecureValue) { o.Spec.Decrypters = append(o.Spec.Decrypters, "evil") }),
			newerA.Sealed},
		"version rolled back": {a,
			changed(newerA, func(o *secret.SecureValue) { o.Status.Version = 1 }), newerA.Sealed},
		"value in clear in place of ciphertext": {a, newerA, []byte(canary)},
		"no ciphertext":                         {a, newerA, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s.put(t, tc.at, encodeFrame(t, s.codec, withSealed(tc.object, tc.sealed)))
			_ = mustNotOpen(t, s.sealer, s.stored(t, tc.at))
			// Nor does an update launder it: a change that re-seals has to open it first.
			_, err := s.update(t.Context(), tc.at, func(o *secret.SecureValue) { o.Spec.Decrypters = nil })
			if err == nil {
				t.Error("an update re-sealed it")
			}
		})
	}
	s.put(t, a, encodeFrame(t, s.codec, newerA))
	s.mustOpenTo(t, a, canary+"-a2")
}

// TestNamesakeReplay: a deleted object's ciphertext does not open under a new object of the same name.
func TestNamesakeReplay(t *testing.T) {
	s := newStack(t, false)
	old := s.create(t, "a", canary+"-old")
	ciphertext := s.stored(t, old).Sealed
	if err := s.Delete(t.Context(), keyOf(old), &secret.SecureValue{}, nil, storage.ValidateAllObjectFunc, nil,
		storage.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	namesake := newObject("a", canary+"-new")
	namesake.UID = "uid-of-the-namesake"
	if err := s.Create(t.Context(), keyOf(namesake), namesake, nil, 0); err != nil {
		t.Fatal(err)
	}
	s.put(t, namesake, encodeFrame(t, s.codec, withSealed(s.stored(t, namesake), ciphertext)))
	_ = mustNotOpen(t, s.sealer, s.stored(t, namesake))
}

// TestPlaintextRecordOfAnotherServer: a record without a frame is refused, and never served.
func TestPlaintextRecordOfAnotherServer(t *testing.T) {
	s := newStack(t, false)
	obj := s.create(t, "a", canary)
	object, _, err := splitFrame(s.raw(t, obj))
	if err != nil {
		t.Fatal(err)
	}
	s.put(t, obj, object)
	if err := s.Get(t.Context(), keyOf(obj), storage.GetOptions{}, &secret.SecureValue{}); err == nil {
		t.Error("an unframed record was served")
	}
}

func changed(obj *secret.SecureValue, change func(*secret.SecureValue)) *secret.SecureValue {
	c := obj.DeepCopy()
	change(c)
	return c
}
