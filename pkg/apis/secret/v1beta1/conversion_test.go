// SPDX-License-Identifier: Apache-2.0

package v1beta1_test

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

const canary = "CANARY-4c77ab10"

// Core lists leave version and kind out of their items; the document shows them.
func TestListItemsNameTheirKind(t *testing.T) {
	list := &secret.SecureValueList{
		ListMeta: metav1.ListMeta{ResourceVersion: "7", Continue: "next"},
		Items: []secret.SecureValue{{ObjectMeta: metav1.ObjectMeta{Name: "a"}},
			{ObjectMeta: metav1.ObjectMeta{Name: "b"}}},
	}
	var out v1beta1.SecureValueList
	if err := newScheme().Convert(list, &out, nil); err != nil {
		t.Fatal(err)
	}
	if out.ResourceVersion != "7" || out.Continue != "next" || len(out.Items) != 2 {
		t.Fatalf("got %+v", out)
	}
	for i, want := range []string{"a", "b"} {
		item := out.Items[i]
		if item.Name != want || item.APIVersion != "secret.grafana.app/v1beta1" || item.Kind != "SecureValue" {
			t.Errorf("item %d is %q of %s, %s", i, item.Name, item.APIVersion, item.Kind)
		}
	}
}

func TestFieldLabels(t *testing.T) {
	tests := []struct {
		selector, want string
		err            bool
	}{
		{selector: "metadata.name=a", want: "metadata.name=a"},
		{selector: "metadata.name!=a", want: "metadata.name!=a"},
		{selector: "metadata.namespace=n", want: "metadata.namespace=n"},
		{selector: "spec.decrypter=k6-cloud", want: "spec.decrypter:k6-cloud=true"},
		{selector: "spec.decrypter!=k6-cloud", want: "spec.decrypter:k6-cloud!=true"},
		{selector: "spec.decrypter=", want: "spec.decrypter:=true"},
		{
			selector: "metadata.name=a,spec.decrypter=provisioning.grafana.app,spec.decrypter!=k6-cloud",
			want:     "metadata.name=a,spec.decrypter:k6-cloud!=true,spec.decrypter:provisioning.grafana.app=true",
		},
		{selector: "spec.value=" + canary, err: true},
		{selector: "spec.value!=" + canary, err: true},
		{selector: "spec.description=" + canary, err: true},
		{selector: "spec.decrypters=" + canary, err: true},
		{selector: "spec.decrypter:k6-cloud=true", err: true},
		{selector: "status.key=" + canary, err: true},
		{selector: canary + "=x", err: true},
		{selector: "metadata.name=a,spec.value=" + canary, err: true},
	}
	scheme := newScheme()
	kind := v1beta1.SchemeGroupVersion.WithKind("SecureValue")
	for _, tt := range tests {
		t.Run(tt.selector, func(t *testing.T) {
			selector, err := fields.ParseSelector(tt.selector)
			if err != nil {
				t.Fatal(err)
			}
			got, err := selector.Transform(func(label, value string) (string, string, error) {
				return scheme.ConvertFieldLabel(kind, label, value)
			})
			if (err != nil) != tt.err {
				t.Fatalf("got error %v", err)
			}
			if err != nil {
				if strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), "spec.decrypter") {
					t.Errorf("the error must name what works and quote nothing: %v", err)
				}
				return
			}
			if got.String() != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// A label outside the table is refused even where upstream would let it pass by default.
func TestFieldLabelsOfTheHub(t *testing.T) {
	if _, _, err := newScheme().ConvertFieldLabel(secret.SchemeGroupVersion.WithKind("SecureValue"), "spec.value",
		canary); err == nil {
		t.Error("the hub must not select on the value")
	} else if strings.Contains(err.Error(), canary) {
		t.Errorf("the error quotes the value: %v", err)
	}
}

// Protobuf's unmarshaler takes any bytes for a string, so that validation is what refuses invalid UTF-8 there.
func TestProtobufLeavesUTF8ToValidation(t *testing.T) {
	for name, value := range map[string]string{
		"a stray byte": canary + "\xff", "half a rune": canary + "\xe6\x97", "a surrogate": canary + "\xed\xa0\x80",
	} {
		t.Run(name, func(t *testing.T) {
			in := v1beta1.SecureValue{Spec: v1beta1.SecureValueSpec{Description: "d", Value: sensitive.New(value)}}
			in.Name, in.Namespace = "n", "ns"
			data, err := in.Marshal()
			if err != nil {
				t.Fatal(err)
			}
			var out v1beta1.SecureValue
			if err := out.Unmarshal(data); err != nil {
				t.Fatal(err)
			}
			if out.Spec.Value == nil || out.Spec.Value.Expose() != value {
				t.Fatal("the unmarshaler changed the value")
			}
			var hub secret.SecureValue
			if err := newScheme().Convert(&out, &hub, nil); err != nil {
				t.Fatal(err)
			}
			errs := validation.New(nil).Create(&hub)
			if len(errs) != 1 || errs[0].Error() != "spec.value: Invalid value: must be valid UTF-8" {
				t.Errorf("got %v", errs)
			}
		})
	}
}

// An absent value and an empty one are different things: the first keeps, the second is refused.
func TestProtobufKeepsAbsentApartFromEmpty(t *testing.T) {
	for name, value := range map[string]*sensitive.Value{"absent": nil, "empty": sensitive.New("")} {
		in := v1beta1.SecureValueSpec{Value: value}
		data, err := in.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		var out v1beta1.SecureValueSpec
		if err := out.Unmarshal(data); err != nil {
			t.Fatal(err)
		}
		if (out.Value == nil) != (value == nil) {
			t.Errorf("%s: came back nil: %t", name, out.Value == nil)
		}
	}
}
