// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/safecodec"
)

func hub() *secret.SecureValue {
	return &secret.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Name: "api-key", Namespace: "default"},
		Spec:       secret.SecureValueSpec{Description: "d", Decrypters: []string{"b", "a"}},
		Status:     secret.SecureValueStatus{Version: 2, Keeper: "system"},
	}
}

// What is stored is v1beta1 in protobuf: smaller, and independent of JSON names.
func TestStorageCodecWritesProtobuf(t *testing.T) {
	sv := hub()
	sv.Sealed = []byte("ciphertext")
	data, err := runtime.Encode(NewStorageCodec(), sv)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(data, []byte("k8s\x00")) {
		t.Fatalf("not protobuf: %q", data[:4])
	}
	if bytes.Contains(data, []byte("ciphertext")) {
		t.Error("the object's part of a frame holds the sealed part")
	}
	var unknown runtime.Unknown
	if err := unknown.Unmarshal(data[4:]); err != nil {
		t.Fatal(err)
	}
	if unknown.APIVersion != "secret.grafana.app/v1beta1" || unknown.Kind != "SecureValue" {
		t.Errorf("stored as %s, %s", unknown.APIVersion, unknown.Kind)
	}
	var stored v1beta1.SecureValue
	if err := stored.Unmarshal(unknown.Raw); err != nil {
		t.Fatal(err)
	}
	if stored.Name != "api-key" || stored.Spec.Description != "d" {
		t.Errorf("got %+v", stored)
	}
}

func TestStorageCodecReadsTheHub(t *testing.T) {
	codec := NewStorageCodec()
	data, err := runtime.Encode(codec, hub())
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := runtime.Decode(codec, data)
	if err != nil {
		t.Fatal(err)
	}
	got, ok := decoded.(*secret.SecureValue)
	if !ok {
		t.Fatalf("got %T", decoded)
	}
	if diff := cmp.Diff(hub(), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var into secret.SecureValue
	if err := runtime.DecodeInto(codec, data, &into); err != nil || into.Name != "api-key" {
		t.Errorf("got %+v, %v", into, err)
	}
	again, err := runtime.Encode(codec, got)
	if err != nil || !bytes.Equal(data, again) {
		t.Error("two encodings differ: every no-op would write")
	}
}

// A dry run copies through this codec and has to keep the value; the framing codec over it is what refuses one.
func TestStorageCodecKeepsTheValue(t *testing.T) {
	sv := hub()
	sv.Spec.Value = sensitive.New("plain")
	data, err := runtime.Encode(NewStorageCodec(), sv)
	if err != nil {
		t.Fatal(err)
	}
	var got secret.SecureValue
	if err := runtime.DecodeInto(NewStorageCodec(), data, &got); err != nil || got.Spec.Value == nil ||
		got.Spec.Value.Expose() != "plain" {
		t.Errorf("the value is lost: %v", err)
	}
}

// JSON in etcd is not this server's writing.
func TestStorageCodecReadsNoJSON(t *testing.T) {
	if _, err := runtime.Decode(NewStorageCodec(),
		[]byte(`{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue"}`)); err == nil {
		t.Error("JSON was read")
	}
}

func TestSchemeKnowsWhatIsServed(t *testing.T) {
	kinds := []schema.GroupVersionKind{
		secret.SchemeGroupVersion.WithKind("SecureValue"), v1beta1.SchemeGroupVersion.WithKind("SecureValue"),
		v1beta1.SchemeGroupVersion.WithKind("SecureValueList"), v1beta1.SchemeGroupVersion.WithKind("WatchEvent"),
		v1beta1.SchemeGroupVersion.WithKind("ListOptions"), v1beta1.SchemeGroupVersion.WithKind("DeleteOptions"),
	}
	for _, kind := range []string{"Status", "APIVersions", "APIGroupList", "APIGroup", "APIResourceList"} {
		kinds = append(kinds, schema.GroupVersionKind{Version: "v1", Kind: kind})
	}
	for _, kind := range kinds {
		if !Scheme.Recognizes(kind) {
			t.Errorf("%s is not registered", kind)
		}
	}
	if unversioned, registered := Scheme.IsUnversioned(&metav1.Status{}); !unversioned || !registered {
		t.Error("Status must be unversioned: it is encoded as v1 in every group")
	}
	if !Scheme.IsVersionRegistered(v1beta1.SchemeGroupVersion) {
		t.Error("v1beta1 is not registered")
	}
	media := map[string]bool{}
	for _, info := range Codecs.SupportedMediaTypes() {
		media[info.MediaType] = true
	}
	for _, want := range []string{runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf} {
		if !media[want] {
			t.Errorf("%s is not served", want)
		}
	}
}

// writes keeps the length of each write.
type writes struct {
	bytes.Buffer
	longest int
}

func (w *writes) Write(p []byte) (int, error) {
	w.longest = max(w.longest, len(p))
	return w.Buffer.Write(p)
}

// A list is encoded item by item: a client that is slow, or asks for a long one, costs the memory of an item and not of
// the list.
func TestListsAreEncodedItemByItem(t *testing.T) {
	const items = 100
	list := &secret.SecureValueList{}
	for range items {
		list.Items = append(list.Items, *hub())
	}
	whole := v1beta1.SecureValueList{}
	if err := v1beta1.Convert_secret_SecureValueList_To_v1beta1_SecureValueList(list, &whole, nil); err != nil {
		t.Fatal(err)
	}
	negotiated := safecodec.Wrap(Codecs)
	for _, mediaType := range []string{runtime.ContentTypeJSON, runtime.ContentTypeProtobuf} {
		info, ok := runtime.SerializerInfoForMediaType(negotiated.SupportedMediaTypes(), mediaType)
		if !ok {
			t.Fatalf("%s is not served", mediaType)
		}
		var got writes
		if err := negotiated.EncoderForVersion(info.Serializer, v1beta1.SchemeGroupVersion).Encode(list,
			&got); err != nil {
			t.Fatal(err)
		}
		if got.longest > got.Len()/items*2 {
			t.Errorf("%s: one write of %d bytes, of %d for %d items", mediaType, got.longest, got.Len(), items)
		}
		decoded, err := runtime.Decode(Codecs.UniversalDecoder(v1beta1.SchemeGroupVersion), got.Bytes())
		if err != nil {
			t.Fatalf("%s: %v", mediaType, err)
		}
		if diff := cmp.Diff(whole.Items, decoded.(*v1beta1.SecureValueList).Items,
			cmpopts.IgnoreTypes(metav1.TypeMeta{})); diff != "" {
			t.Errorf("%s: %s", mediaType, diff)
		}
	}
}
