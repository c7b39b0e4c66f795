// SPDX-License-Identifier: Apache-2.0

package keyuse

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// tally counts values by key, and forgets none: an event may come twice.
type tally struct {
	keys   map[types.NamespacedName]string
	counts map[string]int64
	// writeKey is what the server seals with now; "" when it is not known.
	writeKey string
}

func newTally() *tally {
	return &tally{keys: map[types.NamespacedName]string{}, counts: map[string]int64{}}
}

func nameOf(sv *v1beta1.SecureValue) types.NamespacedName {
	return types.NamespacedName{Namespace: sv.Namespace, Name: sv.Name}
}

// put counts an object, unless it is deleted and waits for its finalizers: then no key seals it.
func (t *tally) put(sv *v1beta1.SecureValue) {
	t.remove(sv)
	if sv.DeletionTimestamp != nil {
		return
	}
	key := secret.ShowKey(sv.Status.Key) // an older server may send whatever was in etcd
	t.keys[nameOf(sv)] = key
	t.counts[key]++
}

func (t *tally) remove(sv *v1beta1.SecureValue) {
	key, known := t.keys[nameOf(sv)]
	if !known {
		return
	}
	delete(t.keys, nameOf(sv))
	if t.counts[key]--; t.counts[key] == 0 {
		delete(t.counts, key)
	}
}

// total counts all values, fresh those under the write key.
func (t *tally) total() int64 { return int64(len(t.keys)) }
func (t *tally) fresh() int64 { return t.counts[t.writeKey] }

// done reports whether no value is left under another key.
func (t *tally) done() bool { return t.fresh() == t.total() }

// report is what keys prints.
type report struct {
	// WriteKey is the key that the server seals with now; absent when it is not known.
	WriteKey string `json:"writeKey,omitempty"`
	// Values counts the values, Stale those that are not under the write key.
	Values int64  `json:"values"`
	Stale  *int64 `json:"stale,omitempty"`
	// Keys has the most used key first.
	Keys []keyCount `json:"keys"`
}

// keyCount says how many values one key seals.
type keyCount struct {
	Key    string `json:"key"`
	Values int64  `json:"values"`
}

func (t *tally) report() report {
	r := report{WriteKey: t.writeKey, Values: t.total(), Keys: []keyCount{}}
	if t.writeKey != "" {
		stale := t.total() - t.fresh()
		r.Stale = &stale
	}
	for _, key := range slices.Sorted(maps.Keys(t.counts)) {
		r.Keys = append(r.Keys, keyCount{key, t.counts[key]})
	}
	slices.SortStableFunc(r.Keys, func(a, b keyCount) int { return cmp.Compare(b.Values, a.Values) })
	return r
}
