// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"encoding/hex"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

func bound(namespace, name, uid string, version int64, decrypters ...string) *secret.SecureValue {
	return &secret.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(uid)},
		Spec:       secret.SecureValueSpec{Decrypters: decrypters},
		Status:     secret.SecureValueStatus{Version: version},
	}
}

// TestAADIsInjective: each of these objects differs from each other in what a ciphertext is bound to.
func TestAADIsInjective(t *testing.T) {
	objects := []*secret.SecureValue{
		bound("ns", "a", "u", 1, "x", "y"),
		bound("ns2", "a", "u", 1, "x", "y"),
		bound("ns", "a2", "u", 1, "x", "y"),
		bound("ns", "a", "u2", 1, "x", "y"),
		bound("ns", "a", "u", 2, "x", "y"),
		bound("ns", "a", "u", -1, "x", "y"),
		bound("ns", "a", "u", 0, "x", "y"),
		bound("ns", "a", "u", 1, "x"),
		bound("ns", "a", "u", 1),
		bound("ns", "a", "u", 1, "x", "y", "z"),
		bound("ns", "a", "u", 1, "x", "y", ""),
		bound("ns", "a", "u", 1, "xy"),
		bound("ns", "a", "u", 1, "x,y"),
		bound("ns", "a", "u", 1, "x\x01y"),
		bound("nsa", "", "u", 1, "x", "y"),
		bound("", "nsa", "u", 1, "x", "y"),
		bound("ns", "au", "", 1, "x", "y"),
		bound("ns", "", "au", 1, "x", "y"),
		bound("n", "sa", "u", 1, "x", "y"),
		bound("ns\x01a", "", "u", 1, "x", "y"),
		bound("a", "ns", "u", 1, "x", "y"),
		bound("", "", "", 0),
	}
	for i, a := range objects {
		for j, b := range objects {
			if (i == j) != bytes.Equal(AAD(a), AAD(b)) {
				t.Errorf("objects %d and %d: equal AADs = %v", i, j, i != j)
			}
		}
	}
}

func TestAADTakesDecryptersAsSet(t *testing.T) {
	obj := bound("ns", "a", "u", 1, "z", "x", "y", "x")
	want := AAD(bound("ns", "a", "u", 1, "x", "y", "z"))
	if !bytes.Equal(AAD(obj), want) {
		t.Error("order or duplicates of decrypters change the AAD")
	}
	if !slices.Equal(obj.Spec.Decrypters, []string{"z", "x", "y", "x"}) {
		t.Error("AAD sorted the object's own list")
	}
	if !bytes.Equal(AAD(bound("ns", "a", "u", 1)), AAD(bound("ns", "a", "u", 1, []string{}...))) {
		t.Error("nil and empty decrypters differ")
	}
}

// TestAADIgnoresWhatMayChangeFreely: a label edit must not need the key.
func TestAADIgnoresWhatMayChangeFreely(t *testing.T) {
	obj := newObject("a", canary)
	before := AAD(obj)
	obj.Labels, obj.Annotations, obj.Finalizers = map[string]string{"new": "label"}, map[string]string{"a": "b"},
		[]string{"f"}
	obj.ResourceVersion, obj.Generation, obj.Spec.Description = "7", 9, "another"
	obj.Spec.Value, obj.Sealed, obj.Status.Key, obj.Status.Keeper = nil, []byte("x"), "aesgcm/key1", ""
	if !bytes.Equal(before, AAD(obj)) {
		t.Error("a field that binds nothing changed the AAD")
	}
}

// TestAADBytes fixes the layout: a change of it makes every stored value unreadable.
func TestAADBytes(t *testing.T) {
	want := "01" + "12" + hex.EncodeToString([]byte("secret.grafana.app")) + "0c" +
		hex.EncodeToString([]byte("securevalues")) +
		"026e73" + "0161" + "0175" + "0000000000000102" + "0178" + "0179"
	if got := hex.EncodeToString(AAD(bound("ns", "a", "u", 258, "y", "x"))); got != want {
		t.Errorf("AAD = %s, want %s", got, want)
	}
}

func FuzzAAD(f *testing.F) {
	f.Add("ab", "c", "u", int64(1), "x", "y", "a", "bc", "u", int64(1), "x", "y")
	f.Add("ns", "a", "u", int64(1), "x", "y", "ns", "a", "u", int64(1), "y", "x")
	f.Add("ns", "a", "u", int64(1), "x", "y", "ns", "a", "u", int64(1), "xy", "")
	f.Add("ns", "a", "u", int64(1), "x", "x", "ns", "a", "u\x00\x00\x00\x00\x00\x00\x00\x01\x01x", int64(1), "x", "x")
	f.Fuzz(func(t *testing.T, ns1, name1, uid1 string, v1 int64, d1, e1, ns2, name2, uid2 string, v2 int64, d2,
		e2 string) {
		sameSet := min(d1, e1) == min(d2, e2) && max(d1, e1) == max(d2, e2)
		same := ns1 == ns2 && name1 == name2 && uid1 == uid2 && v1 == v2 && sameSet
		if same != bytes.Equal(AAD(bound(ns1, name1, uid1, v1, d1, e1)), AAD(bound(ns2, name2, uid2, v2, d2, e2))) {
			t.Errorf("bound to the same: %v, but equal AADs: %v", same, !same)
		}
	})
}
