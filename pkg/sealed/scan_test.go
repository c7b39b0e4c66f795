// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

// TestAttackNamesInAScan: neither the key of a record in etcd nor the name of its encryption key reaches a terminal as
// it is.
func TestAttackNamesInAScan(t *testing.T) {
	etcd := runEtcd(t)
	obj := mustSeal(t, newSealer(t, "aesgcm"), newObject("a", canary))
	frame := encodeFrame(t, NewCodec(objectCodec()), obj)
	other := obj.DeepCopy()
	other.Name = "b"
	odd := encodeFrame(t, NewCodec(objectCodec()),
		withSealed(other, bytes.Replace(obj.Sealed, []byte(":key1:"), []byte(":\x1b[2J\xff:"), 1)))
	for name, record := range map[string][]byte{"ns/a": frame, "ns/b": odd, "n\x1b[2J/\xffc": frame} {
		if _, err := etcd.Put(t.Context(), RecordRoot(etcdPrefix)+name, string(record)); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]error{"ns/a aesgcm/key1": nil, "ns/b unreadable": ErrKeyName,
		`n\x1b[2J/\xffc aesgcm/key1`: ErrMisplaced}
	total, err := NewScanner(etcd.Client, objectCodec(), etcdPrefix).Scan(t.Context(), 0, func(found Scanned, _ int64) {
		text := fmt.Sprintf("%s/%s %s", found.Namespace, found.Name, found.Key)
		err, known := want[text]
		if !known || !errors.Is(found.Err, err) {
			t.Errorf("%q: %v", text, found.Err)
		}
		delete(want, text)
	})
	if err != nil || total != 3 || len(want) != 0 {
		t.Errorf("%d records, %v; not seen: %v", total, err, want)
	}
}

// TestScanReadsPages: small and large values, more than a page of each.
func TestScanReadsPages(t *testing.T) {
	etcd := runEtcd(t)
	const small, large = 2*firstPage + 1, 300
	for i := range small + large {
		value := "small"
		if i >= small {
			value = string(make([]byte, 24<<10))
		}
		if _, err := etcd.Put(t.Context(), fmt.Sprintf("%sns/%05d", RecordRoot(etcdPrefix), i), value); err != nil {
			t.Fatal(err)
		}
	}
	next := 0
	total, err := NewScanner(etcd.Client, objectCodec(), etcdPrefix).Scan(t.Context(), 0,
		func(found Scanned, total int64) {
			if found.Name != fmt.Sprintf("%05d", next) || total != small+large || !errors.Is(found.Err, ErrFrame) {
				t.Errorf("record %d: %+v of %d", next, found, total)
			}
			next++
		})
	if err != nil || total != small+large || next != small+large {
		t.Errorf("%d of %d records, %v", next, total, err)
	}
}
