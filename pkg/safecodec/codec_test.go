// SPDX-License-Identifier: Apache-2.0

package safecodec_test

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/install"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/safecodec"
)

const canary = "CANARY-77ad01"

var kind = v1beta1.SchemeGroupVersion.WithKind("SecureValue")

// decoders returns the group's wrapped decoders for a media type, as a handler gets them: lenient and strict.
func decoders(t testing.TB, mediaType string) map[string]runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	install.Install(scheme)
	codecs := safecodec.Wrap(serializer.NewCodecFactory(scheme))
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), mediaType)
	if !ok {
		t.Fatalf("no serializer for %s", mediaType)
	}
	all := map[string]runtime.Decoder{"lenient": codecs.DecoderToVersion(info.Serializer, secret.SchemeGroupVersion)}
	if info.StrictSerializer != nil {
		all["strict"] = codecs.DecoderToVersion(info.StrictSerializer, secret.SchemeGroupVersion)
	}
	return all
}

// body writes a JSON manifest around a spec.
func body(spec string) string { return `{"metadata":{"name":"n"},"spec":` + spec + `}` }

type decodeTest struct {
	name, body string
	// lenient and strict are the errors' whole texts, "" for success. strict is lenient's where it is "=".
	lenient, strict string
}

const (
	undecodable = "the body cannot be decoded: check its syntax, its Content-Type and the types of its fields"
	wrongKind   = "the body's apiVersion and kind must match the URL, or be absent"
	notString   = "spec.value must be a string"
	notUTF8     = "spec.value must be valid UTF-8 without lone surrogate escapes"
	same        = "="
)

var jsonTests = []decodeTest{
	{"good", body(`{"description":"d","value":"` + canary + `"}`), "", same},
	{"value null", body(`{"description":"d","value":null}`), "", same},
	{"empty", "", undecodable, same},
	{"only the secret", canary, undecodable, same},
	{"secret in quotes", `"` + canary + `"`, undecodable, same},
	{"secret in a list", `["` + canary + `"]`, undecodable, same},
	{"truncated", `{"spec":{"value":"` + canary, undecodable, same},
	{"truncated after", `{"spec":{"value":"` + canary + `"`, undecodable, same},
	{"no comma", `{"spec":{"value":"` + canary + `" "description":"d"}}`, undecodable, same},
	{"bare word", `{"spec":{"value":` + canary + `}}`, undecodable, same},
	{"single quotes", `{'spec':{'value':'` + canary + `'}}`, undecodable, same},
	{"control character", "{\"spec\":{\"value\":\"" + canary + "\n\"}}", undecodable, same},
	{"bad escape", `{"spec":{"value":"\x` + canary + `"}}`, undecodable, same},
	{"trailing data", body(`{"description":"d"}`) + canary, undecodable, same},
	{"value number", body(`{"value":31337}`), notString, same},
	{"value bool", body(`{"value":true}`), notString, same},
	{"value object", body(`{"value":{"` + canary + `":"` + canary + `"}}`), notString, same},
	{"value list", body(`{"value":["` + canary + `"]}`), notString, same},
	{"value lone surrogate", body(`{"value":"` + canary + `\ud800"}`), notUTF8, same},
	{"value invalid UTF-8", body("{\"value\":\"" + canary + "\xff\"}"), notUTF8, same},
	{"description number", body(`{"description":31337,"value":"` + canary + `"}`), "spec.description must be a string",
		same},
	{"description object", body(`{"description":{"a":"` + canary + `"}}`), "spec.description must be a string", same},
	{"decrypters string", body(`{"decrypters":"` + canary + `"}`), "spec.decrypters must be a list", same},
	{"decrypter number", body(`{"decrypters":[31337]}`), "spec.decrypters must be a string", same},
	{"spec string", `{"spec":"` + canary + `"}`, "spec must be an object", same},
	{"spec list", `{"spec":["` + canary + `"]}`, "spec must be an object", same},
	{"metadata string", `{"metadata":"` + canary + `"}`, "metadata must be an object", same},
	{"labels list", `{"metadata":{"labels":["` + canary + `"]}}`, "metadata.labels must be an object", same},
	{"label number", `{"metadata":{"labels":{"` + canary + `":31337}}}`, "metadata.labels must be a string", same},
	{"version string", `{"status":{"version":"` + canary + `"}}`, "status.version must be a number", same},
	{"time", `{"metadata":{"creationTimestamp":"` + canary + `"}}`, undecodable, same},
	{"kind number", `{"kind":31337}`, undecodable, same},
	{"another kind", `{"apiVersion":"secret.grafana.app/v1beta1","kind":"` + canary + `"}`, wrongKind, same},
	{"another version", `{"apiVersion":"secret.grafana.app/` + canary + `","kind":"SecureValue"}`, wrongKind, same},
	{"another group", `{"apiVersion":"` + canary + `/v1beta1","kind":"SecureValue"}`, wrongKind, same},
	{"ill-formed apiVersion", `{"apiVersion":"a/b/` + canary + `","kind":"SecureValue"}`, undecodable, same},
	{"unknown field", body(`{"description":"d","valeu":"` + canary + `"}`), "",
		`strict decoding error: unknown field "spec.valeu"`},
	{"value in another case", body(`{"Value":"` + canary + `"}`), "",
		`strict decoding error: unknown field "spec.Value"`},
	{"unknown at the top", `{"value":"` + canary + `"}`, "", `strict decoding error: unknown field "value"`},
	{"sealed", `{"sealed":"` + canary + `"}`, "", `strict decoding error: unknown field "sealed"`},
	{"duplicate field", body(`{"value":"` + canary + `","value":"` + canary + `"}`), "",
		`strict decoding error: duplicate field "spec.value"`},
	{
		"quotes in a name", body(`{"a\"` + canary + `":1}`), "",
		"strict decoding error: a field with an overlong or quoted name is unknown or given twice",
	},
	{
		"an overlong name", body(`{"` + strings.Repeat("a", 300) + canary + `":1}`), "",
		"strict decoding error: a field with an overlong or quoted name is unknown or given twice",
	},
	{
		"two faults", body(`{"valeu":"` + canary + `","secret":{"a":"` + canary + `"}}`), "",
		`strict decoding error: unknown field "spec.valeu", unknown field "spec.secret"`,
	},
	{
		"unknown field and wrong type", body(`{"valeu":"` + canary + `","description":1}`),
		"spec.description must be a string", same,
	},
}

var yamlTests = []decodeTest{
	{"good", "spec:\n  description: d\n  value: " + canary + "\n", "", same},
	{"truncated quote", "spec:\n  value: \"" + canary, undecodable, same},
	{"tab", "spec:\n\tvalue: " + canary, undecodable, same},
	{"unknown anchor", "spec:\n  value: *" + canary, undecodable, same},
	{"tag int", "spec:\n  value: !!int " + canary, undecodable, same},
	{"plain scalar for a document", canary, undecodable, same},
	{"number", "spec:\n  value: 123456\n", notString, same},
	{"bool", "spec:\n  value: yes\n", notString, same},
	{"map", "spec:\n  value:\n    " + canary + ": x\n", notString, same},
	{"list", "spec:\n  value:\n  - " + canary + "\n", notString, same},
	{"wrong type", "spec:\n  decrypters: " + canary + "\n", "spec.decrypters must be a list", same},
	{"another kind", "apiVersion: secret.grafana.app/v1beta1\nkind: " + canary + "\n", wrongKind, same},
	{"unknown field", "spec:\n  valeu: " + canary + "\n", "", `strict decoding error: unknown field "spec.valeu"`},
	{"key twice", "spec:\n  description: d\n  value: " + canary + "\n  value: " + canary + "2\n", "",
		"strict decoding error: a YAML mapping has the same key twice"},
	{"secret as a key twice", "spec: {}\n" + canary + ": 1\n" + canary + ": 2\n", "",
		"strict decoding error: a YAML mapping has the same key twice, unknown field \"" + canary + "\""},
	{"bad bytes", "spec:\n  value: " + canary + "\xff\n", undecodable, same},
}

func TestDecodeJSON(t *testing.T) { runDecodeTests(t, runtime.ContentTypeJSON, jsonTests) }
func TestDecodeYAML(t *testing.T) { runDecodeTests(t, runtime.ContentTypeYAML, yamlTests) }

func runDecodeTests(t *testing.T, mediaType string, tests []decodeTest) {
	t.Helper()
	for mode, decoder := range decoders(t, mediaType) {
		for _, tt := range tests {
			t.Run(mode+" "+tt.name, func(t *testing.T) {
				want := tt.lenient
				if mode == "strict" && tt.strict != same {
					want = tt.strict
				}
				_, gvk, err := decoder.Decode([]byte(tt.body), &kind, &secret.SecureValue{})
				wantDecodeError(t, err, gvk, want)
			})
		}
	}
}

func wantDecodeError(t *testing.T, err error, gvk *schema.GroupVersionKind, want string) {
	t.Helper()
	if err == nil {
		if want != "" {
			t.Fatalf("decoded, want %q", want)
		}
		return
	}
	if err.Error() != want {
		t.Errorf("got  %q\nwant %q", err, want)
	}
	// Without a kind, upstream's handlers add the first bytes of the body to the text.
	if gvk == nil || gvk.Kind != "SecureValue" {
		t.Errorf("the error comes with kind %v", gvk)
	}
	if errors.Unwrap(err) != nil {
		t.Error("the original error is still reachable, and its text holds the body")
	}
}

func TestDecodeProtobuf(t *testing.T) {
	good := encodeProtobuf(t, &v1beta1.SecureValue{Spec: v1beta1.SecureValueSpec{Description: "d",
		Value: sensitive.New(canary)}})
	wrong := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "secret.grafana.app/v1beta1", Kind: canary},
		Raw: []byte("\x12\x7f" + canary)}
	garbage := wrong
	garbage.Kind = "SecureValue"
	tests := map[string]struct {
		body []byte
		want string
	}{
		"good":              {good, ""},
		"empty":             {nil, undecodable},
		"no prefix":         {[]byte(canary), undecodable},
		"prefix only":       {good[:4], undecodable},
		"prefix and secret": {append(good[:4:4], "\x12\x7f"+canary...), undecodable},
		"truncated":         {good[:len(good)-8], undecodable},
		"another kind":      {unknown(t, wrong), wrongKind},
		"garbage inside":    {unknown(t, garbage), undecodable},
		"JSON":              {[]byte(body(`{"value":"` + canary + `"}`)), undecodable},
	}
	for mode, decoder := range decoders(t, runtime.ContentTypeProtobuf) {
		for name, tt := range tests {
			t.Run(mode+" "+name, func(t *testing.T) {
				_, gvk, err := decoder.Decode(tt.body, &kind, &secret.SecureValue{})
				wantDecodeError(t, err, gvk, tt.want)
			})
		}
	}
}

func encodeProtobuf(t *testing.T, object runtime.Object) []byte {
	t.Helper()
	scheme := runtime.NewScheme()
	install.Install(scheme)
	object.GetObjectKind().SetGroupVersionKind(kind)
	data, err := runtime.Encode(protobuf.NewSerializer(scheme, scheme), object)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func unknown(t *testing.T, u runtime.Unknown) []byte {
	t.Helper()
	data, err := u.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte{'k', '8', 's', 0}, data...)
}

// A good body comes out as the hub type, whole.
func TestDecodeGood(t *testing.T) {
	for mode, decoder := range decoders(t, runtime.ContentTypeJSON) {
		into := &secret.SecureValue{}
		object, gvk, err := decoder.Decode([]byte(body(`{"description":"d","value":"`+canary+`"}`)), &kind, into)
		if err != nil || object != into || *gvk != kind {
			t.Fatalf("%s: got %T, %v, %v", mode, object, gvk, err)
		}
		if into.Name != "n" || into.Spec.Value == nil || into.Spec.Value.Expose() != canary {
			t.Errorf("%s: something is missing", mode)
		}
	}
}

// With a strict error the object is handed on: under fieldValidation=Warn the handler goes on with it.
func TestStrictErrorKeepsTheObject(t *testing.T) {
	object, _, err := decoders(t, runtime.ContentTypeJSON)["strict"].Decode([]byte(body(`{"description":"d","x":1}`)),
		&kind, &secret.SecureValue{})
	strict, ok := runtime.AsStrictDecodingError(err)
	if !ok || len(strict.Errors()) != 1 {
		t.Fatalf("got %v", err)
	}
	if sv, ok := object.(*secret.SecureValue); !ok || sv.Spec.Description != "d" {
		t.Errorf("got %T", object)
	}
}

// FuzzDecode feeds any body: an error never holds eight characters of it, but for the names of fields.
func FuzzDecode(f *testing.F) {
	for _, tt := range append(jsonTests, yamlTests...) {
		f.Add(tt.body)
	}
	all := []map[string]runtime.Decoder{
		decoders(f, runtime.ContentTypeJSON), decoders(f, runtime.ContentTypeYAML),
		decoders(f, runtime.ContentTypeProtobuf),
	}
	f.Fuzz(func(t *testing.T, body string) {
		for _, modes := range all {
			for mode, decoder := range modes {
				_, gvk, err := decoder.Decode([]byte(body), &kind, &secret.SecureValue{})
				if err == nil {
					continue
				}
				if gvk == nil || gvk.Kind == "" {
					t.Fatalf("%s: an error without a kind: %v", mode, err)
				}
				if _, strict := runtime.AsStrictDecodingError(err); !strict && !isKnown(err.Error()) {
					t.Fatalf("%s: a text that is not this package's: %v", mode, err)
				} else if strict && safecodec.SafeDetail(err.Error()) != err.Error() &&
					!strings.Contains(err.Error(), ", ") {
					t.Fatalf("%s: a strict text that is not this package's: %v", mode, err)
				}
			}
		}
	})
}

// isKnown says whether a text is constant, or one of a field of the types and what it must be.
func isKnown(text string) bool {
	switch text {
	case undecodable, wrongKind, notString, notUTF8:
		return true
	}
	path, rest, ok := strings.Cut(text, " must be ")
	if !ok || strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.") != "" {
		return false
	}
	switch rest {
	case "a string", "true or false", "a list", "an object", "a number":
		return true
	}
	return false
}
