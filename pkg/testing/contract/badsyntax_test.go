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
)

// maxBody is the limit of a request body; see apiserver.MaxRequestBodyBytes.
const maxBody = 1 << 20

// badSyntax are bodies that are not a JSON object, or that a decoder would not read as they were meant.
func badSyntax() []bad {
	value := func(literal string) string { return withSpec(`{"description":"d","value":` + literal + `}`) }
	good := value(`"CANARY"`)
	tooLarge := value(`"CANARY` + strings.Repeat("v", maxBody) + `"`)
	cases := []bad{
		{name: "empty", body: ""},
		{name: "white space", body: " \n\t"},
		{name: "null", body: "null"},
		{name: "a list", body: "[" + good + "]"},
		{name: "a string", body: `"CANARY"`},
		{name: "a bare word", body: "CANARY"},
		{name: "a number", body: "DIGITS"},
		{name: "truncated in the value", body: `{"metadata":{"name":"bad"},"spec":{"description":"d","value":"CANARY`},
		{name: "truncated behind the value",
			body: `{"metadata":{"name":"bad"},"spec":{"description":"d","value":"CANARY"`},
		{name: "a comma too many", body: value(`"CANARY",`)},
		{name: "a comma missing", body: `{"metadata":{"name":"bad"},"spec":{"value":"CANARY" "description":"d"}}`},
		{name: "a quote too many", body: value(`"CANARY"CANARY"`)},
		{name: "single quotes", body: value(`'CANARY'`)},
		{name: "no quotes", body: value(`xCANARY`)},
		{name: "a bad escape", body: value(`"\CANARY"`)},
		{name: "text behind the object", body: good + "CANARY"},
		{name: "two objects", body: good + good},
		{name: "a comment", body: "// CANARY\n" + good},
		{name: "a byte order mark", body: "\ufeff" + good},
		{name: "UTF-16", body: "\xff\xfe{\x00"},
		{name: "YAML under JSON", body: "metadata: {name: bad}\nspec: {description: d, value: CANARY}\n"},
		{name: "protobuf under JSON", body: "k8s\x00\x0aCANARY"},
		{name: "a raw line break in the value", body: value("\"CANARY\nCANARY\"")},
		{name: "a raw NUL in the value", body: value("\"CANARY\x00\"")},
		{name: "NaN", body: value("NaN")},
		{name: "a leading zero", body: value("0DIGITS"), causes: []string{"spec.value"}},
		{name: "invalid UTF-8 in the value", body: value("\"CANARY\xff\xfe\""), text: "UTF-8"},
		{name: "an overlong encoding", body: value("\"CANARY\xc0\xaf\""), text: "UTF-8"},
		{name: "a surrogate in UTF-8", body: value("\"CANARY\xed\xa0\x80\""), text: "UTF-8"},
		{name: "a lone high surrogate", body: value(`"CANARY\ud800"`), text: "surrogate"},
		{name: "a lone low surrogate", body: value(`"\udc00CANARY"`), text: "surrogate"},
		{name: "two high surrogates", body: value(`"\ud83d\ud83dCANARY"`), text: "surrogate"},
		{name: "a high surrogate before a letter", body: value(`"\ud83dCANARY"`), text: "surrogate"},
		{name: "a lone surrogate in a name", body: withMeta(`{"name":"a\ud800"}`), text: "surrogate"},
		{name: "nested too deep", body: strings.Repeat(`{"a":`, 5000) + `"CANARY"` + strings.Repeat("}", 5000)},
		{name: "nested too deep in the value",
			body:   value(strings.Repeat("[", 5000) + `"CANARY"` + strings.Repeat("]", 5000)),
			causes: []string{"spec.value"}},
		{name: "over the limit", body: tooLarge, code: http.StatusRequestEntityTooLarge,
			reason: metav1.StatusReasonRequestEntityTooLarge},
		{name: "PUT over the limit", method: http.MethodPut, body: tooLarge, code: http.StatusRequestEntityTooLarge,
			reason: metav1.StatusReasonRequestEntityTooLarge},
		{name: "PATCH over the limit", method: http.MethodPatch, contentType: mergeType, body: tooLarge,
			code: http.StatusRequestEntityTooLarge, reason: metav1.StatusReasonRequestEntityTooLarge},
		{name: "YAML over the limit", contentType: yamlType, body: tooLarge, code: http.StatusRequestEntityTooLarge,
			reason: metav1.StatusReasonRequestEntityTooLarge},
		{name: "protobuf over the limit", contentType: protoType, body: tooLarge,
			code: http.StatusRequestEntityTooLarge, reason: metav1.StatusReasonRequestEntityTooLarge},
	}
	for _, c := range cases[:10] {
		c.name, c.contentType = c.name+" without a Content-Type", "none"
		cases = append(cases, c)
	}
	return cases
}

// badYAML is what YAML allows beyond JSON. Anchors and tags in place of the value are where decoders quote.
func badYAML() []bad {
	spec := func(lines string) string { return "metadata: {name: bad}\nspec:\n  description: d\n" + lines }
	value := []string{"spec.value"}
	cases := []bad{
		{name: "an anchor", body: spec("  value: &CANARY CANARY\n"), text: "anchors"},
		{name: "an alias to nothing", body: spec("  value: *CANARY\n"), text: "anchors"},
		{name: "an alias", body: spec("  value: &v CANARY\n") + "x: *v\n", text: "anchors"},
		{name: "an alias bomb", body: "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n" + spec("  value: CANARY\n"),
			text: "anchors"},
		{name: "a tag that does not fit", body: spec("  value: !!int CANARY\n"), text: "tags"},
		{name: "a tag that fits", body: spec("  value: !!str CANARY\n"), text: "tags"},
		{name: "a binary tag", body: spec("  value: !!binary CANARY=\n"), text: "tags"},
		{name: "a local tag", body: spec("  value: !CANARY x\n"), text: "tags"},
		{name: "a merge key", body: spec("  value: CANARY\n  <<: {decrypters: [CANARY]}\n")},
		{name: "a number", body: spec("  value: DIGITS\n"), causes: value},
		{name: "an octal number", body: spec("  value: 0777\n"), causes: value},
		{name: "a date", body: spec("  value: 2024-01-15\n"), causes: value},
		{name: "a truth", body: spec("  value: yes\n"), causes: value},
		{name: "a list", body: spec("  value: [CANARY]\n"), causes: value},
		{name: "a mapping", body: spec("  value: {CANARY: CANARY}\n"), causes: value},
		{name: "nothing", body: spec("  value:\n"), causes: value},
		{name: "an empty string", body: spec("  value: \"\"\n"), causes: value},
		{name: "spec a word", body: "metadata: {name: bad}\nspec: CANARY\n", causes: []string{"spec"}},
		{name: "two documents", body: spec("  value: CANARY\n") + "---\na: CANARY\n"},
		{name: "a document that ends early", body: "metadata: {name: bad}\nspec: {description: d, value: \"CANARY"},
		{name: "a tab", body: spec("\tvalue: CANARY\n")},
		{name: "an indentation", body: spec(" value: CANARY\n")},
		{name: "a word", body: "CANARY"},
		{name: "a list at the top", body: "- CANARY\n"},
		{name: "invalid UTF-8", body: spec("  value: \"CANARY\xff\"\n"), text: "UTF-8"},
		{name: "a lone surrogate", body: spec(`  value: "CANARY\ud800"` + "\n")},
		{name: "an unknown escape", body: spec(`  value: "\qCANARY"` + "\n")},
		{name: "a directive", body: "%CANARY 9\n---\n" + spec("  value: CANARY\n")},
		{name: "nested too deep", body: spec("  value: CANARY\n") + "x: " + strings.Repeat("[", 2000) +
			strings.Repeat("]", 2000)},
		{name: "value twice, strict", query: "?fieldValidation=Strict",
			body: spec("  value: CANARY\n  value: CANARY\n")},
		{name: "unknown field, strict", query: "?fieldValidation=Strict",
			body: spec("  valve: CANARY\n  value: CANARY\n"), text: `unknown field "spec.valve"`},
		{name: "empty", body: ""},
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
