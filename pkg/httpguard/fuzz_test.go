// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
	"github.com/securevalue/secret-apiserver/pkg/testing/malformed"
)

// constants are all texts that a refusal of a body may have, without their positions.
var constants = []string{
	textNotUTF8, textNotJSON, textNotObject, textNotPatch, textTooDeep, textTooMany, textSurrogate, textNotYAML,
	textManyYAML,
	textYAMLRefs, textYAMLMerge, textYAMLEscape, textYAMLTwoWays, textEmpty, validation.ErrManagedFields.Error(),
	"SecureValue.secret.grafana.app is invalid: spec.value: " + textMustBeString,
	"SecureValue.secret.grafana.app is invalid: spec.value: " + textMustBeQuoted,
	"SecureValue.secret.grafana.app is invalid: spec: " + textMustBeObject,
}

var position = regexp.MustCompile(` \((byte|line) [0-9]+\)$`)

// requireConstant fails unless the error says nothing but a constant and a position.
func requireConstant(t *testing.T, err error) {
	t.Helper()
	text := position.ReplaceAllString(err.Error(), "")
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Code != 400 || !slices.Contains(constants, text) {
		t.Fatalf("not a constant 400: %q", err)
	}
}

// requireString fails unless spec.value of a decoded object is absent, null or a string that no decoder mended.
func requireString(t *testing.T, object map[string]any, body []byte) {
	t.Helper()
	spec, ok := object["spec"].(map[string]any)
	if !ok {
		if object["spec"] != nil {
			t.Fatalf("spec is a %T", object["spec"])
		}
		return
	}
	switch value := spec["value"].(type) {
	case nil:
	case string:
		if !utf8.ValidString(value) {
			t.Fatal("the value is not UTF-8")
		}
		written := bytes.Count(body, []byte("\uFFFD")) + bytes.Count(bytes.ToLower(body), []byte("fffd"))
		if strings.Count(value, "\uFFFD") > written {
			t.Fatalf("a decoder mended the value: %q", value)
		}
	default:
		t.Fatalf("spec.value is a %T", value)
	}
}

// seeds adds the malformed bodies, and good ones.
func seeds(f *testing.F, good ...string) {
	f.Helper()
	for _, seed := range good {
		f.Add([]byte(seed))
	}
	for _, b := range malformed.Bodies() {
		f.Add([]byte(b.Text))
	}
}

func FuzzGuardJSON(f *testing.F) {
	seeds(f, `{"spec":{"value":"v"}}`, `{"spec":{"value":"\ud83d\ude00"}}`, `{"a":[0.5e-3,true,false,null]}`, `[]`,
		`[{"op":"add","path":"/spec/value","value":"v"}]`)
	f.Fuzz(func(t *testing.T, body []byte) {
		patchErr := checkJSONPatch(body)
		if patchErr != nil {
			requireConstant(t, patchErr)
		} else if !json.Valid(body) {
			t.Fatal("passed as a patch and is not JSON")
		}
		err := checkJSON(body)
		if err != nil {
			requireConstant(t, err)
			if strings.HasPrefix(err.Error(), textNotJSON) && json.Valid(body) {
				t.Fatal("refused as JSON and is JSON")
			}
			return
		}
		if !json.Valid(body) {
			t.Fatal("passed and is not JSON")
		}
		object := map[string]any{}
		if kjson.UnmarshalCaseSensitivePreserveInts(body, &object) == nil {
			requireString(t, object, body)
		}
	})
}

func FuzzGuardYAML(f *testing.F) {
	seeds(f, "spec:\n  value: v\n", "spec: {value: '1'}", "spec: {value: |\n a\n}", "spec:\n  value: >+\n\n    a\n   b\n\n",
		"? spec\n: value: a\n", "%YAML 1.1\n---\nspec: {value: \"\\x41\\\n b\"}\n...\n",
		"spec: # c\n  value: a # b\n  # d\n", "spec: {value: 12:30:45}", "\xef\xbb\xbfspec: {value: y}",
		"spec:\n  value: a\n   b\n\n   c\n", "spec: {value: ! \"\"}", "spec: {value: 'it''s'}")
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := checkYAML(body); err != nil {
			requireConstant(t, err)
			return
		}
		for _, unmarshal := range []func([]byte, any, ...kyaml.JSONOpt) error{kyaml.Unmarshal, kyaml.UnmarshalStrict} {
			object := map[string]any{}
			if unmarshal(body, &object) == nil {
				requireString(t, object, body)
			}
		}
	})
}

func FuzzScrubQuery(f *testing.F) {
	for _, seed := range []string{
		"fieldSelector=spec.value%3Dabc", "fieldSelector=metadata.name%3Da,spec.value!%3Db", "value=a&limit=1",
		"a=%zz", "fieldSelector=a;b", "%66ieldSelector=x==y",
		"fieldSelector=x%3D,spec%3D",
	} {
		f.Add("/apis/secret.grafana.app/v1beta1/securevalues", seed)
	}
	f.Fuzz(func(t *testing.T, path, query string) {
		once := ScrubQuery(path, query)
		if again := ScrubQuery(path, once); again != once {
			t.Fatalf("not stable: %q, then %q", once, again)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	large := strings.Repeat("v", 24576)
	object := `{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue","metadata":{"name":"one"},` +
		`"spec":{"description":"d","value":"` + large + `"}}`
	for name, test := range map[string]struct {
		check func([]byte) error
		body  string
	}{
		"json":  {checkJSON, object},
		"yaml":  {checkYAML, object},
		"patch": {checkJSONPatch, `[{"op":"replace","path":"/spec/value","value":"` + large + `"}]`},
	} {
		b.Run(name, func(b *testing.B) {
			body := []byte(test.body)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if err := test.check(body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkScrubQuery(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ScrubQuery(listPath, "limit=500&fieldSelector=metadata.name%3Da&resourceVersion=0")
	}
}
