// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/versioning"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/install"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// asVerb is the context of a request with another verb.
func asVerb(ctx context.Context, verb string) context.Context {
	return request.WithRequestInfo(ctx, &request.RequestInfo{IsResourceRequest: true, Verb: verb})
}

// at names an object without one.
func at(namespace, name string) *secret.SecureValue {
	return &secret.SecureValue{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func wantMisplaced(t *testing.T, what string, err error) {
	t.Helper()
	var operation *OperationError
	//nolint:errorlint // the sentinel itself
	if !errors.As(err, &operation) || !errors.Is(err, ErrMisplaced) || FaultOf(err) != ErrDamaged {
		t.Errorf("%s: %v, want an *OperationError of a misplaced record", what, err)
		return
	}
	if operation.Namespace != "ns" || operation.Name != "b" || strings.Contains(err.Error(), etcdPrefix) {
		t.Errorf("%s: %v does not name the object that was asked for", what, err)
	}
}

// TestMisplacedRecord copies the record of a to other keys, onto an object and where none was: nothing serves it by the
// other name.
func TestMisplacedRecord(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		a, b := s.create(t, "a", canary), s.create(t, "b", canary)
		w := s.watch(t, storage.ListOptions{ResourceVersion: b.ResourceVersion, Predicate: storage.Everything})
		frame := s.raw(t, a)
		for _, place := range []*secret.SecureValue{at("other", "a"), b, at("ns", "0")} {
			s.put(t, place, frame)
		}
		s.create(t, "c", canary)

		// A watch hears that b is gone, and nothing of the other places.
		if kind, seen := next(t, w); kind != watch.Deleted || seen.Namespace != "ns" || seen.Name != "b" ||
			seen.Sealed != nil {
			t.Errorf("the watch says %s of %s/%s", kind, seen.Namespace, seen.Name)
		}
		if kind, seen := next(t, w); kind != watch.Added || seen.Name != "c" {
			t.Errorf("the watch goes on with %s of %s", kind, seen.Name)
		}
		initial := s.watch(t, storage.ListOptions{ResourceVersion: "0", Predicate: storage.Everything})
		for _, want := range []string{"a", "c"} {
			if kind, seen := next(t, initial); kind != watch.Added || seen.Name != want || seen.Namespace != "ns" {
				t.Errorf("a new watch begins with %s of %s/%s, want %s", kind, seen.Namespace, seen.Name, want)
			}
		}

		for _, rv := range []string{"", "0"} {
			err := wait.PollUntilContextTimeout(t.Context(), 5*time.Millisecond, time.Minute, true,
				func(context.Context) (bool, error) {
					//nolint:contextcheck // the test's own
					err := s.Get(t.Context(), keyOf(b), storage.GetOptions{ResourceVersion: rv}, &secret.SecureValue{})
					return err != nil, nil
				})
			if err != nil {
				t.Errorf("GET at %q still serves it", rv)
			}
			wantMisplaced(t, "GET at "+rv, s.Get(t.Context(), keyOf(b), storage.GetOptions{ResourceVersion: rv},
				&secret.SecureValue{}))
			var names []string
			for _, item := range s.list(t, rv) {
				names = append(names, item.Namespace+"/"+item.Name)
			}
			if fmt.Sprint(names) != "[ns/a ns/c]" {
				t.Errorf("LIST at %q has %v", rv, names)
			}
		}
		if got := s.pages(t); fmt.Sprint(got) != "[ns/a ns/c]" {
			t.Errorf("pages of one have %v", got)
		}
		for _, ctx := range []context.Context{t.Context(), asPUT(t.Context())} {
			for _, change := range []func(*secret.SecureValue){relabel, newValue(canary),
				func(*secret.SecureValue) {}} {
				_, err := s.update(ctx, b, change)
				wantMisplaced(t, "an update", err)
			}
		}
		_, err := s.getter.Rewrap(t.Context(), keyOf(b), nil, false)
		wantMisplaced(t, "a rewrap", err)
		if string(s.raw(t, b)) != string(frame) {
			t.Error("something wrote the record")
		}
		s.mustOpenTo(t, a, canary)
		if got := s.get(t, a, ""); got.Name != "a" {
			t.Errorf("a is %s", got.Name)
		}
	})
}

// pages lists one object at a time, from etcd.
func (s *stack) pages(t *testing.T) []string {
	t.Helper()
	var names []string
	predicate := storage.Everything
	predicate.Limit = 1
	for {
		list := &secret.SecureValueList{}
		if err := s.GetList(t.Context(), resourcePrefix+"/",
			storage.ListOptions{Recursive: true, Predicate: predicate}, list); err != nil {
			t.Fatal(err)
		}
		for _, item := range list.Items {
			names = append(names, item.Namespace+"/"+item.Name)
		}
		if predicate.Continue = list.Continue; predicate.Continue == "" {
			return names
		}
	}
}

// TestMisplacedRecordIsSelectedByItsPlace: no selector finds it by what the record says.
func TestMisplacedRecordIsSelectedByItsPlace(t *testing.T) {
	s := newStack(t, false)
	s.put(t, at("ns", "b"), s.raw(t, s.create(t, "a", canary)))
	count := func(verb, label, field string) int {
		t.Helper()
		list := &secret.SecureValueList{}
		opts := storage.ListOptions{Recursive: true, Predicate: storage.SelectionPredicate{
			Label: mustSelector(label), Field: fields.ParseSelectorOrDie(field), GetAttrs: getAttrs,
		}}
		if err := s.GetList(asVerb(t.Context(), verb), resourcePrefix+"/", opts, list); err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	const collection = "deletecollection"
	for _, test := range []struct {
		verb, label, field string
		want               int
	}{
		{"list", "", "metadata.name=a", 1}, {"list", "", "metadata.name=b", 0}, {"list", "team=a", "", 1},
		{collection, "", "metadata.name=a", 1}, {collection, "", "metadata.name=b", 1}, {collection, "team=a", "", 1},
		{collection, "", "", 2},
	} {
		if got := count(test.verb, test.label, test.field); got != test.want {
			t.Errorf("labels %q, fields %q: %d objects, want %d", test.label, test.field, got, test.want)
		}
	}
}

// TestMisplacedRecordIsRepairedOrDeleted: a request that deletes sees the name of the place and nothing else; putting
// the record back brings the object back.
func TestMisplacedRecordIsRepairedOrDeleted(t *testing.T) {
	forBoth(t, func(t *testing.T, s *stack) {
		a, b := s.create(t, "a", canary), s.create(t, "b", canary)
		own := s.raw(t, b)
		w := s.watch(t, storage.ListOptions{ResourceVersion: b.ResourceVersion, Predicate: storage.Everything})
		s.put(t, b, s.raw(t, a))
		_, _ = next(t, w)
		s.put(t, b, own)
		if kind, seen := next(t, w); kind == watch.Deleted || seen.Name != "b" || seen.UID != b.UID {
			t.Errorf("the watch says %s of %s", kind, seen.Name)
		}
		if got := s.get(t, b, ""); got.UID != b.UID {
			t.Errorf("b has the uid %s", got.UID)
		}
		s.put(t, b, s.raw(t, a))
		for _, verb := range []string{"delete", "deletecollection"} {
			seen := &secret.SecureValue{}
			if err := s.Get(asVerb(t.Context(), verb), keyOf(b), storage.GetOptions{}, seen); err != nil {
				t.Fatal(err)
			}
			if seen.Name != "b" || seen.UID != "" || seen.Labels != nil || seen.Spec.Decrypters != nil ||
				seen.Sealed != nil {
				t.Errorf("%s sees %+v", verb, seen)
			}
		}
		err := s.Delete(asVerb(t.Context(), "delete"), keyOf(b), &secret.SecureValue{},
			storage.NewUIDPreconditions(string(a.UID)),
			storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{})
		if !storage.IsInvalidObj(err) {
			t.Errorf("a delete for the uid of a: %v", err)
		}
		out := &secret.SecureValue{}
		if err := s.Delete(asVerb(t.Context(), "delete"), keyOf(b), out, nil, storage.ValidateAllObjectFunc, nil,
			storage.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if s.raw(t, b) != nil || out.Name != "b" || out.Sealed != nil {
			t.Errorf("deleted %+v", out)
		}
		s.mustOpenTo(t, a, canary)
	})
}

// TestMisplacedRecordIsReported by name, wherever records are read past the store.
func TestMisplacedRecordIsReported(t *testing.T) {
	s := newStack(t, false)
	a := s.create(t, "a", canary)
	record := s.stored(t, a)
	markDeleted(record)
	for _, frame := range [][]byte{s.raw(t, a), encodeFrame(t, s.codec, record)} {
		key := RecordRoot(etcdPrefix) + "ns/b"
		found := NewVerifier(objectCodec(), etcdPrefix, s.keys, s.keys).Verify(t.Context(), key, frame)
		if found.Namespace != "ns" || found.Name != "b" || found.Key != oldKey || found.Deleted ||
			!errors.Is(found.Err, ErrMisplaced) {
			t.Errorf("the verification says %+v", found)
		}
	}
}

// TestUnreadableRecord: what the etcd3 store says of it, which quotes its key, reaches nobody.
func TestUnreadableRecord(t *testing.T) {
	s := newStack(t, false)
	obj := s.create(t, "a", canary)
	object, sealed, err := splitFrame(s.raw(t, obj))
	if err != nil {
		t.Fatal(err)
	}
	for name, record := range map[string][]byte{
		"no frame": []byte("garbage"), "an envelope": []byte("k8s:enc:aesgcm:v1:key1:x"),
		"no object":      appendFrame(nil, []byte("garbage"), sealed),
		"half an object": appendFrame(nil, object[:len(object)/2], sealed),
	} {
		s.put(t, obj, record)
		clean := func(what string, err error) {
			t.Helper()
			if err == nil || strings.Contains(err.Error(), "StorageError") ||
				strings.Contains(err.Error(), etcdPrefix) || strings.Contains(err.Error(), "garbage") {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		damaged := func(what string, err error) {
			t.Helper()
			var operation *OperationError
			//nolint:errorlint // the sentinel itself
			if clean(what, err); !errors.As(err, &operation) || storage.IsCorruptObject(err) ||
				operation.Operation != ReadingRecord || operation.Name != "a" || FaultOf(err) != ErrDamaged {
				t.Errorf("%s, %s: %v, want a damaged record", name, what, err)
			}
		}
		damaged("GET", s.Get(t.Context(), keyOf(obj), storage.GetOptions{}, &secret.SecureValue{}))
		_, err = s.update(t.Context(), obj, relabel)
		damaged("an update", err)
		_, err = s.getter.Rewrap(t.Context(), keyOf(obj), nil, false)
		damaged("a rewrap", err)
		damaged("DELETE", s.Delete(t.Context(), keyOf(obj), &secret.SecureValue{}, nil, storage.ValidateAllObjectFunc,
			nil, storage.DeleteOptions{}))
		err = s.GetList(t.Context(), resourcePrefix+"/",
			storage.ListOptions{Recursive: true, Predicate: storage.Everything}, &secret.SecureValueList{})
		clean("LIST", err)
		status := apierrors.APIStatus(nil)
		if !errors.As(err, &status) || status.Status().Reason != metav1.StatusReasonStoreReadError ||
			strings.Contains(fmt.Sprint(status.Status().Details), "ns/a") {
			t.Errorf("%s, LIST: %v", name, status)
		}
	}
	unsafe := storage.DeleteOptions{ExpectTransformOrDecodeError: true}
	if err := s.Delete(t.Context(), keyOf(obj), &secret.SecureValue{}, nil, storage.ValidateAllObjectFunc, nil,
		unsafe); err != nil || s.raw(t, obj) != nil {
		t.Errorf("a delete that expects it: %v", err)
	}
}

// TestScanNames agrees with the decoder about every encoding that it accepts.
func TestScanNames(t *testing.T) {
	obj := newObject("name", "")
	obj.Spec.Value, obj.GenerateName, obj.Annotations = nil, "decoy", map[string]string{"ns": "name"}
	object, err := runtime.Encode(objectCodec(), obj)
	if err != nil {
		t.Fatal(err)
	}
	if namespace, name, ok := scanNames(object); !ok || string(namespace) != "ns" || string(name) != "name" {
		t.Fatalf("got %s/%s, %t", namespace, name, ok)
	}
	twice := func(field protowire.Number, message, value []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(append([]byte(nil), message...), field, protowire.BytesType),
			value)
	}
	raw := onlyField(object[len(protobufMagic):], rawField)
	decoy := twice(nameField, nil, []byte("decoy"))
	for name, bad := range map[string][]byte{
		"nothing": nil, "JSON": []byte(`{"metadata":{}}`), "cut": object[:len(object)-1],
		"two metadata": append([]byte(protobufMagic), twice(rawField, nil, twice(metadataField, raw, decoy))...),
		"two raws":     twice(rawField, object, raw),
	} {
		if _, _, ok := scanNames(bad); ok {
			t.Errorf("%s is taken for what this server encodes", name)
		}
	}
	for cut := range object { // no panic, and nothing but the names
		if namespace, name, ok := scanNames(object[:cut]); ok && string(namespace)+"/"+string(name) != "ns/name" {
			t.Errorf("cut at %d: %s/%s", cut, namespace, name)
		}
	}
}

// TestPlacedReadsOtherEncodings: a record that the scan does not understand is decoded, so that its name still counts.
func TestPlacedReadsOtherEncodings(t *testing.T) {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	serializer := json.NewSerializerWithOptions(json.DefaultMetaFactory, scheme, scheme, json.SerializerOptions{})
	codec := NewCodec(versioning.NewDefaultingCodecForScheme(scheme, serializer, serializer,
		v1beta1.SchemeGroupVersion, runtime.InternalGroupVersioner))
	p := placed{root: "/root/", codec: codec}
	frame := encodeFrame(t, codec, withSealed(newObject("a", ""), []byte("k8s:enc:x")))
	for key, want := range map[string]bool{"/root/ns/a": false, "/root/ns/b": true, "/root/other/a": true,
		"/root/a": true, "/root/ns/a/a": true} {
		record, stale, err := p.TransformFromStorage(t.Context(), frame, value.DefaultContext(key))
		if err != nil || stale || isMisplaced(decodeFrame(t, codec, record)) != want {
			t.Errorf("%s: misplaced %t, %v", key, !want, err)
		}
	}
}

func BenchmarkPlaced(b *testing.B) {
	benchEachSize(b, func(b *testing.B, size int) {
		codec := NewCodec(objectCodec())
		frame := encodeFrame(b, codec, withSealed(newObject("a", ""), make([]byte, size)))
		p, key := placed{root: RecordRoot(etcdPrefix), codec: codec},
			value.DefaultContext(RecordRoot(etcdPrefix)+"ns/a")
		for b.Loop() {
			if record, _, err := p.TransformFromStorage(b.Context(), frame, key); err != nil ||
				len(record) != len(frame) {
				b.Fatal(err)
			}
		}
	})
}
