// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// openerStack is the storage of a server and an Opener beside it.
type openerStack struct {
	*stack
	opener *Opener
}

func newOpenerStack(t testing.TB) *openerStack {
	t.Helper()
	s := newStack(t, false)
	return &openerStack{stack: s, opener: NewOpener(s.etcd.Client, etcdPrefix, s.codec, s.sealer)}
}

func (s *openerStack) read(t testing.TB, namespace string, names ...string) *Reading {
	t.Helper()
	reading, err := s.opener.Read(t.Context(), namespace, names)
	if err != nil {
		t.Fatal(err)
	}
	return reading
}

func TestOpenerReadsWhatTheStoreWrote(t *testing.T) {
	s := newOpenerStack(t)
	s.create(t, "a", canary+"-a")
	calls := s.keys.calls.Load()
	reading := s.read(t, "ns", "a", "b", "a")
	if s.keys.calls.Load() != calls {
		t.Error("Read decrypted something")
	}
	if len(reading.Records) != 3 || reading.Records[1].Object != nil || reading.Records[1].Err != nil {
		t.Fatalf("want a, an absent b and a again, got %+v", reading.Records)
	}
	for _, i := range []int{0, 2} {
		record := &reading.Records[i]
		if record.Name != "a" || record.Object == nil || record.Object.Sealed != nil ||
			record.Object.Spec.Value != nil {
			t.Fatalf("want record a without value and ciphertext, got %+v", record)
		}
		if !slices.Equal(record.Object.Spec.Decrypters, []string{"k6", "synthetic"}) || record.Object.UID != "uid-a" {
			t.Errorf("the record says %+v", record.Object)
		}
		v, err := s.opener.Open(t.Context(), record)
		if err != nil || v.Expose() != canary+"-a" {
			t.Errorf("Open: %q, %v", v.Expose(), err)
		}
	}
	if _, err := s.opener.Open(t.Context(), &reading.Records[1]); err == nil {
		t.Error("an absent record opened")
	}
}

// TestOpenerReadsOneRevision writes x and then y, again and again: at no revision is y ahead of x, or more than one
// behind.
func TestOpenerReadsOneRevision(t *testing.T) {
	s := newOpenerStack(t)
	x, y := s.create(t, "x", "0"), s.create(t, "y", "0")
	done := make(chan error, 1)
	go func() {
		for round := 1; round <= 200; round++ {
			for _, obj := range []*secret.SecureValue{x, y} {
				if _, err := s.update(t.Context(), obj, newValue(strconv.Itoa(round))); err != nil {
					done <- err
					return
				}
			}
		}
		close(done)
	}()
	for reads := 0; ; reads++ {
		select {
		case err := <-done:
			if err != nil || reads == 0 {
				t.Fatalf("%d reads, %v", reads, err)
			}
			return
		default:
		}
		reading := s.read(t, "ns", "y", "x")
		var versions [2]int
		for i := range reading.Records {
			v, err := s.opener.Open(t.Context(), &reading.Records[i])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fmt.Sscan(v.Expose(), &versions[i]); err != nil {
				t.Fatal(err)
			}
		}
		if behind := versions[1] - versions[0]; behind != 0 && behind != 1 {
			t.Fatalf("x is at %d and y at %d: not one revision", versions[1], versions[0])
		}
	}
}

func TestOpenerRefuses(t *testing.T) {
	s := newOpenerStack(t)
	many := make([]string, MaxOpen+1)
	for i := range many {
		many[i] = fmt.Sprintf("n%d", i)
	}
	for name, ask := range map[string]struct {
		namespace string
		names     []string
	}{
		"no name":             {"ns", nil},
		"129 names":           {"ns", many},
		"an empty name":       {"ns", []string{""}},
		"an empty namespace":  {"", []string{"a"}},
		"a name with a slash": {"ns", []string{"../other/b"}},
		"a namespace above":   {"..", []string{"a"}},
		"a NUL":               {"ns", []string{"a\x00"}},
	} {
		if _, err := s.opener.Read(t.Context(), ask.namespace, ask.names); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
	if reading := s.read(t, "ns", many[:MaxOpen]...); len(reading.Records) != MaxOpen {
		t.Errorf("%d records of %d", len(reading.Records), MaxOpen)
	}
}

// TestAttackRecordMovedInEtcd copies a whole record to a key where other rules hold.
func TestAttackRecordMovedInEtcd(t *testing.T) {
	s := newOpenerStack(t)
	frame := s.raw(t, s.create(t, "a", canary))
	for namespace, name := range map[string]string{"attacker": "a", "ns": "b"} {
		target := newObject(name, "")
		target.Namespace = namespace
		s.put(t, target, frame)
		record := s.read(t, namespace, name).Records[0]
		if record.Object != nil || !errors.Is(record.Err, ErrMisplaced) {
			t.Errorf("%s/%s: want ErrMisplaced, got %+v", namespace, name, record)
		}
	}
}

// TestAttackDecrypterAddedInEtcd changes what a record says and keeps its ciphertext.
func TestAttackDecrypterAddedInEtcd(t *testing.T) {
	s := newOpenerStack(t)
	s.create(t, "a", canary)
	record := s.read(t, "ns", "a").Records[0]
	record.Object.Spec.Decrypters = append(record.Object.Spec.Decrypters, "attacker")
	v, err := s.opener.Open(t.Context(), &record)
	if err == nil || v != "" || !errors.Is(err, ErrDamaged) {
		t.Errorf("want a changed record, got a value of %d bytes and %v", len(v), err)
	}
}
