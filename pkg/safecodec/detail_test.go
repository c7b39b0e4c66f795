// SPDX-License-Identifier: Apache-2.0

package safecodec_test

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/install"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/safecodec"
)

func TestSafeDetail(t *testing.T) {
	const strict = "strict decoding error: "
	tests := []struct {
		name, text string
		passes     bool
	}{
		{"undecodable", undecodable, true},
		{"wrong kind", wrongKind, true},
		{"not a string", notString, true},
		{"not UTF-8", notUTF8, true},
		{"unknown field", strict + `unknown field "spec.valeu"`, true},
		{"duplicate field", strict + `duplicate field "spec.value"`, true},
		{"JSON patch", strict + `json patch unknown field "[0].valeu"`, true},
		{"YAML keys", strict + "a YAML mapping has the same key twice", true},
		{"odd field", strict + "a field with an overlong or quoted name is unknown or given twice", true},
		{"several", strict + `unknown field "a", duplicate field "b", a YAML mapping has the same key twice`, true},
		{"typed field", "spec.description must be a string", true},
		{"typed list", "spec.decrypters must be a list", true},

		{"nothing", "", false},
		{"anything", canary, false},
		{"prefix alone", strict, false},
		{"known text and more", undecodable + canary, false},
		{"known text after more", canary + notString, false},
		{"unknown strict fault", strict + canary, false},
		{"good fault, then another", strict + `unknown field "a", ` + canary, false},
		{"another, then a good fault", strict + canary + `, unknown field "a"`, false},
		{"after the quotes", strict + `unknown field "a" ` + canary, false},
		{"quotes within", strict + `unknown field "a" value "` + canary + `"`, false},
		{"no name", strict + `unknown field ""`, false},
		{"a long name", strict + `unknown field "` + strings.Repeat("a", 257) + `"`, false},
		{"go-yaml", strict + "yaml: line 3: key \"" + canary + "\" already set in map", false},
		{"typed, unknown type", "spec.description must be " + canary, false},
		{"typed, value before", canary + " spec.description must be a string", false},
		{"typed, line break", "spec\n" + canary + " must be a string", false},
		{"json syntax", `invalid character 'C' looking for beginning of value`, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := undecodable
			if tt.passes {
				want = tt.text
			}
			if got := safecodec.SafeDetail(tt.text); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// known is what SafeDetail may ever say, written down a second time.
var known = regexp.MustCompile(`^(strict decoding error: )?` +
	`(((json patch )?(unknown|duplicate) field "[^"]{1,256}"|a YAML mapping has the same key twice|a field with an ` +
	`overlong or quoted name is unknown or given twice)(, |$))+$`)

// FuzzSafeDetail holds the output to what this package writes, whatever goes in.
func FuzzSafeDetail(f *testing.F) {
	for _, seed := range []string{
		"", canary, undecodable, wrongKind, notString, notUTF8, "spec.value must be a string",
		`strict decoding error: unknown field "a", duplicate field "b"`, `strict decoding error: unknown field "a", ` +
			canary,
		`strict decoding error: json patch unknown field "a"`,
		"strict decoding error: a YAML mapping has the same key twice",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := safecodec.SafeDetail(text)
		if !isKnown(got) && !known.MatchString(got) {
			t.Fatalf("%q gives %q", text, got)
		}
		if got != undecodable && got != text {
			t.Fatalf("%q is altered to %q", text, got)
		}
		if again := safecodec.SafeDetail(got); again != got {
			t.Fatalf("%q is not kept: %q", got, again)
		}
	})
}

// BenchmarkDecode reads the body of a create through the wrapper that keeps errors free of values, good and bad.
func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{256, 8192, secret.MaxValueBytes} {
		value := strings.Repeat("v", size)
		good, wrong := benchProtobuf(b, value), body(`{"description":1,"value":"`+value+`"}`)
		for _, test := range []struct {
			name, mediaType string
			data            []byte
			fails           bool
		}{
			{"json", runtime.ContentTypeJSON, []byte(body(`{"description":"d","value":"` + value + `"}`)), false},
			{"protobuf", runtime.ContentTypeProtobuf, good, false},
			{"json-refused", runtime.ContentTypeJSON, []byte(wrong), true},
		} {
			decoder := decoders(b, test.mediaType)["lenient"]
			b.Run(fmt.Sprintf("%s/%dB", test.name, size), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(test.data)))
				for b.Loop() {
					if _, _, err := decoder.Decode(test.data, &kind,
						&secret.SecureValue{}); (err != nil) != test.fails {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func benchProtobuf(b *testing.B, value string) []byte {
	b.Helper()
	scheme := runtime.NewScheme()
	install.Install(scheme)
	sv := &v1beta1.SecureValue{Spec: v1beta1.SecureValueSpec{Description: "d", Value: sensitive.New(value)}}
	sv.Name = "n"
	sv.SetGroupVersionKind(kind)
	var out bytes.Buffer
	if err := protobuf.NewSerializer(scheme, scheme).Encode(sv, &out); err != nil {
		b.Fatal(err)
	}
	return out.Bytes()
}
