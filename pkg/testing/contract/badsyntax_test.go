// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/scheme"
	"github.com/securevalue/secret-apiserver/pkg/testing/malformed"
)

// maxBody is the limit of a request body; see apiserver.MaxRequestBodyBytes.
const maxBody = 1 << 20

// badSyntax are the malformed bodies that all suites share, and what is too large.
func badSyntax() []bad {
	var cases []bad
	for _, b := range malformed.Bodies() {
		c := bad{name: b.Name, method: b.Method(), contentType: b.Type, body: b.Text, text: b.Says}
		if b.Method() == http.MethodPatch {
			c.query = "?fieldManager=test"
		}
		if b.Type == "" {
			c.contentType = "none"
		}
		if b.Field != "" {
			c.causes = []string{b.Field}
		}
		cases = append(cases, c)
	}
	for _, c := range []bad{
		{name: "POST", method: http.MethodPost}, {name: "PUT", method: http.MethodPut},
		{name: "PATCH", method: http.MethodPatch, contentType: mergeType}, {name: "YAML", contentType: yamlType},
		{name: "protobuf", contentType: protoType},
	} {
		c.name += " over the limit"
		c.body = withSpec(`{"description":"d","value":"CANARY` + strings.Repeat("v", maxBody) + `"}`)
		c.code, c.reason = http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge
		cases = append(cases, c)
	}
	return cases
}

// badYAML is what the guard leaves to the decoder, or reads and then misses.
func badYAML() []bad {
	spec := func(lines string) string { return "metadata: {name: bad}\nspec:\n  description: d\n" + lines }
	cases := []bad{
		{name: "nothing", body: spec("  value:\n"), causes: []string{"spec.value"}},
		{name: "an empty string", body: spec("  value: \"\"\n"), causes: []string{"spec.value"}},
		{name: "value twice, strict", query: "?fieldValidation=Strict", body: spec("  value: CANARY\n  value: CANARY\n")},
		{name: "unknown field, strict", query: "?fieldValidation=Strict",
			body: spec("  valve: CANARY\n  value: CANARY\n"), text: `unknown field "spec.valve"`},
	}
	for i := range cases {
		cases[i].contentType = yamlType
	}
	return cases
}

// badProtobuf are bodies that a typed client could send, cut, bent, or with a fault in them.
func badProtobuf(t *testing.T) []bad {
	t.Helper()
	encode := func(spec v1beta1.SecureValueSpec) string {
		var buffer bytes.Buffer
		object := &v1beta1.SecureValue{ObjectMeta: metav1.ObjectMeta{Name: "bad"}, Spec: spec}
		object.SetGroupVersionKind(v1beta1.SchemeGroupVersion.WithKind("SecureValue"))
		if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(object, &buffer); err != nil {
			t.Fatal(err)
		}
		return buffer.String()
	}
	// As long as the canary that takes its place: protobuf counts bytes.
	standIn := "CANARY" + strings.Repeat("x", 20)
	good := encode(v1beta1.SecureValueSpec{Description: "d", Value: sensitive.New(standIn)})
	cases := []bad{
		{name: "no magic", body: "CANARY"},
		{name: "empty", body: ""},
		{name: "magic only", body: "k8s\x00"},
		{name: "noise", body: "k8s\x00CANARY"},
		{name: "JSON", body: withSpec(`{"description":"d","value":"CANARY"}`)},
		{name: "cut behind the value", body: good[:strings.Index(good, standIn)+len(standIn)]},
		{name: "another kind", body: strings.Replace(good, "SecureValue", "SecureValve", 1),
			text: "apiVersion and kind"},
		{name: "value missing", body: encode(v1beta1.SecureValueSpec{Description: "d"}),
			causes: []string{"spec.value"}},
		{name: "value empty", body: encode(v1beta1.SecureValueSpec{Description: "d", Value: sensitive.New("")}),
			causes: []string{"spec.value"}},
		{name: "value too long", body: encode(v1beta1.SecureValueSpec{Description: "d",
			Value: sensitive.New(strings.Repeat("v", 24577))}), causes: []string{"spec.value"}},
		{name: "value no UTF-8", body: encode(v1beta1.SecureValueSpec{Description: "d",
			Value: sensitive.New(standIn + "\xff")}), causes: []string{"spec.value"}},
		{name: "a lone surrogate", body: encode(v1beta1.SecureValueSpec{Description: "d",
			Value: sensitive.New(standIn + "\xed\xa0\x80")}), causes: []string{"spec.value"}},
		{name: "description missing", body: encode(v1beta1.SecureValueSpec{Value: sensitive.New(standIn)}),
			causes: []string{"spec.description"}},
		{name: "description no UTF-8", body: encode(v1beta1.SecureValueSpec{Description: "\xff",
			Value: sensitive.New(standIn)}), causes: []string{"spec.description"}},
		{name: "decrypter no UTF-8", body: encode(v1beta1.SecureValueSpec{Description: "d",
			Value: sensitive.New(standIn), Decrypters: []string{"\xff"}}),
			causes: []string{"spec.decrypters[0]"}},
	}
	for i := range cases {
		cases[i].contentType = protoType
		cases[i].body = strings.ReplaceAll(cases[i].body, standIn, "CANARY")
	}
	return cases
}
