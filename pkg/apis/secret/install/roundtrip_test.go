// SPDX-License-Identifier: Apache-2.0

package install_test

import (
	"math/rand" //nolint:depguard // what upstream's fuzzer takes
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	"k8s.io/apimachinery/pkg/api/apitesting/roundtrip"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	secretfuzzer "github.com/securevalue/secret-apiserver/pkg/apis/secret/fuzzer"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/install"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// The hub goes to v1beta1, through JSON and through protobuf, and comes back.
func TestRoundTripHub(t *testing.T) {
	roundtrip.RoundTripProtobufTestForAPIGroup(t, install.Install, secretfuzzer.Funcs)
}

// The same from v1beta1, as a typed client sends it.
func TestRoundTripExternal(t *testing.T) {
	scheme := newScheme()
	codecs := serializer.NewCodecFactory(scheme)
	filler := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, secretfuzzer.Funcs),
		rand.NewSource(rand.Int63()), codecs)
	roundtrip.RoundTripExternalTypes(t, scheme, codecs, filler, nil)
}

func TestFuzzerReachesEveryField(t *testing.T) {
	scheme := newScheme()
	codecs := serializer.NewCodecFactory(scheme)
	filler := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, secretfuzzer.Funcs), rand.NewSource(1), codecs)
	var description, value, absent, decrypters, status bool
	for range 200 {
		var sv secret.SecureValue
		filler.Fill(&sv)
		description = description || sv.Spec.Description != ""
		value = value || sv.Spec.Value != nil && *sv.Spec.Value != ""
		absent = absent || sv.Spec.Value == nil
		decrypters = decrypters || len(sv.Spec.Decrypters) > 0
		status = status || sv.Status.Version != 0 && sv.Status.Keeper != "" && sv.Status.Key != ""
		if sv.Sealed != nil {
			t.Fatal("the fuzzer sets the sealed bytes, which no version carries")
		}
	}
	if !description || !value || !absent || !decrypters || !status {
		t.Errorf("never set: description %t value %t no value %t decrypters %t status %t", description, value, absent,
			decrypters, status)
	}
}

// What v1beta1 cannot carry stays behind: ciphertext on the way out, externalID on the way in.
func TestConversionDrops(t *testing.T) {
	scheme := newScheme()
	hub := &secret.SecureValue{Sealed: []byte("ciphertext"), SealedFrom: []byte("digest"), Status: secret.SecureValueStatus{Version: 3}}
	var out v1beta1.SecureValue
	if err := scheme.Convert(hub, &out, nil); err != nil {
		t.Fatal(err)
	}
	want := v1beta1.SecureValue{Status: v1beta1.SecureValueStatus{Version: 3}}
	if !apiequality.Semantic.DeepEqual(out, want) {
		t.Errorf("got %+v, want %+v", out, want)
	}
	in := &v1beta1.SecureValue{
		Spec:   v1beta1.SecureValueSpec{Value: sensitive.New("v")},
		Status: v1beta1.SecureValueStatus{Version: 3, Keeper: "k", Key: "y", ExternalID: "external"},
	}
	var back secret.SecureValue
	if err := scheme.Convert(in, &back, nil); err != nil {
		t.Fatal(err)
	}
	if back.Status != (secret.SecureValueStatus{Version: 3, Keeper: "k", Key: "y"}) || back.Sealed != nil {
		t.Errorf("got status %+v and %d sealed bytes", back.Status, len(back.Sealed))
	}
	if back.Spec.Value == nil || back.Spec.Value.Expose() != "v" {
		t.Error("the value did not come over")
	}
}

// Fields of one name have one content in both versions: the generated conversion casts structs of the same layout, and
// would swap fields of one type that stand in another order.
func TestConversionIsByName(t *testing.T) {
	scheme := newScheme()
	for gvk, goType := range scheme.AllKnownTypes() {
		if gvk.GroupVersion() != v1beta1.SchemeGroupVersion || !scheme.Recognizes(secret.SchemeGroupVersion.WithKind(gvk.Kind)) {
			continue
		}
		hub, err := scheme.New(secret.SchemeGroupVersion.WithKind(gvk.Kind))
		if err != nil {
			t.Fatal(err)
		}
		in := reflect.New(goType)
		nameFields(in.Elem())
		if err := scheme.Convert(in.Interface(), hub, nil); err != nil {
			t.Fatalf("%s: %v", gvk.Kind, err)
		}
		wantNamed(t, gvk.Kind, reflect.ValueOf(hub).Elem())
	}
}

// nameFields sets every string below Spec and Status to the name of its field.
func nameFields(v reflect.Value) {
	for field, content := range v.Fields() {
		switch {
		case content.Kind() == reflect.String:
			content.SetString(field.Name)
		case content.Kind() == reflect.Struct && (field.Name == "Spec" || field.Name == "Status"):
			nameFields(content)
		}
	}
}

func wantNamed(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	for field, content := range v.Fields() {
		switch {
		case content.Kind() == reflect.String && content.String() != "" && content.String() != field.Name:
			t.Errorf("%s.%s got the content of %s", path, field.Name, content)
		case content.Kind() == reflect.Struct && (field.Name == "Spec" || field.Name == "Status"):
			wantNamed(t, path+"."+field.Name, content)
		}
	}
}

func TestInstall(t *testing.T) {
	scheme := newScheme()
	versions := scheme.PrioritizedVersionsForGroup(secret.GroupName)
	if len(versions) != 1 || versions[0] != v1beta1.SchemeGroupVersion {
		t.Errorf("got versions %v, want v1beta1 alone", versions)
	}
	for _, gv := range []schema.GroupVersion{secret.SchemeGroupVersion, v1beta1.SchemeGroupVersion} {
		for _, kind := range []string{"SecureValue", "SecureValueList"} {
			if !scheme.Recognizes(gv.WithKind(kind)) {
				t.Errorf("%s is not registered", gv.WithKind(kind))
			}
		}
	}
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return scheme
}
