// SPDX-License-Identifier: Apache-2.0

package v1beta1_test

import (
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

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
