// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/testing/malformed"
)

func TestBodiesThatPass(t *testing.T) {
	deep := malformed.Nested(maxDepth-1, "")
	tests := map[string]struct{ contentType, body string }{
		"json":            {jsonType, `{"spec":{"description":"d","value":"v","decrypters":["a"]}}`},
		"no content type": {"", `{"spec":{"value":"v"}}`},
		"charset":         {"Application/JSON; charset=utf-8", `{"spec":{"value":"v"}}`},
		"null value":      {jsonType, `{"spec":{"value":null}}`},
		"null spec":       {mergeType, `{"spec":null}`},
		"empty object":    {mergeType, ` {} `},
		"other case":      {jsonType, `{"Spec":{"Value":1},"spec":{"Value":2,"value":"v"}}`},
		"value elsewhere": {jsonType,
			`{"value":1,"metadata":{"spec":{"value":2}},"spec":{"x":{"value":3},"value":"v"}}`},
		"escapes":               {jsonType, `{"spec":{"value":"\"\\\/\b\f\n\r\té\ud83d\ude00"}}`},
		"replacement character": {jsonType, "{\"spec\":{\"value\":\"\uFFFD\\ufffd\"}}"},
		"numbers":               {jsonType, `{"a":[0,-0,1.5,1e9,-2.5E-3,1E+2,true,false,null,{}, []]}`},
		"most members": {jsonType, `{"metadata":{"labels":` + malformed.Object(maxMembers) + `},"a":` +
			malformed.List(maxMembers) + `}`},
		"most members in yaml": {yamlType, "metadata: {labels: " + malformed.Object(maxMembers) + "}\na: " +
			malformed.List(maxMembers) + "\n"},
		"most managers": {"application/strategic-merge-patch+json", `{"metadata":{"managedFields":` +
			malformed.List(100) + `}}`},
		"most operations": {patchType, "[" +
			strings.Repeat(`{"op":"test","path":"/a","value":1},`, maxMembers) +
			`{"op":"test","path":"/a","value":1}]`},
		"deepest":         {jsonType, `{"a":` + deep + `}`},
		"strategic merge": {smpType, `{"spec":{"value":"v","$patch":"replace"}}`},
		"patch value":     {patchType, `[{"op":"replace","path":"/spec/value","value":"v"}]`},
		"patch spec":      {patchType, `[{"op":"add","path":"/spec","value":{"value":"v"}}]`},
		"patch null":      {patchType, `[{"op":"add","path":"/spec/value","value":null}]`},
		"patch other": {patchType,
			`[{"op":"add","path":"/metadata/labels/a","value":{"spec":{"value":1}}}]`},
		"patch remove":       {patchType, `[{"op":"remove","path":"/spec/value"}]`},
		"patch empty":        {patchType, `[]`},
		"patch odd path":     {patchType, `[{"op":"add","path":1,"value":2}]`},
		"yaml":               {yamlType, "# comment\nspec:\n  value: plain word\n  decrypters: [a, b]\n"},
		"yaml quoted":        {yamlType, "spec: {value: '123'}\n"},
		"yaml double quoted": {yamlType, "spec: {value: \"2024-01-01\\u00e9\"}\n"},
		"yaml block":         {yamlType, "spec:\n  value: |\n    123\n"},
		"yaml folded":        {yamlType, "spec:\n  value: >-\n    a\n    b\n"},
		"yaml null":          {yamlType, "spec: {value: ~}\n"},
		"yaml null spec":     {applyType, "spec:\n"},
		"yaml without spec":  {applyType, "metadata: {labels: {a: b}}\n"},
		"yaml end markers":   {yamlType, "---\nspec: {value: v}\n...\n"},
		"yaml colon":         {yamlType, "spec: {value: \"a: b\"}\n"},
		"yaml url":           {yamlType, "spec: {value: http://a:30/b}\n"},
		"yaml duplicate":     {yamlType, "spec: {value: a, value: b}\nspec: {value: c}\n"},
		"yaml emoji":         {yamlType, "spec: {value: \"\U0001F600\"}\n"},
		"yaml bang":          {yamlType, "spec: {value: ! \"123\"}\n"},
		"apply in json": {applyType,
			`{"apiVersion":"secret.grafana.app/v1beta1","spec":{"value":"v\n\u00e9","n":1}}`},
		"protobuf is not read":     {protoType, "k8s\x00\xff"},
		"cbor is not read":         {cborType, "\xd9\xd9\xf7\xff"},
		"unserved is left to 415":  {"text/plain", "{" + canary},
		"bad media type is left":   {"application/json; =", "{" + canary},
		"patch type of post":       {"application/json;;", "{"},
		"case of a patch type":     {"application/JSON-patch+json", "{"},
		"space before a parameter": {"application/merge-patch+json ;a=b", "{"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := send(t, methodOf(test.contentType), testPath+"?fieldManager=test", test.contentType, test.body)
			if !got.passed {
				t.Fatalf("refused: %s", got.raw)
			}
			if string(got.seen) != test.body || got.length != int64(len(test.body)) {
				t.Errorf("the body changed: %q, length %d", got.seen, got.length)
			}
		})
	}
}

// TestMalformedBodies sends the table that all suites share: a constant text and a position, nothing of the body.
func TestMalformedBodies(t *testing.T) {
	for _, b := range malformed.Bodies() {
		t.Run(b.Name, func(t *testing.T) {
			got := send(t, b.Method(), testPath, b.Type, b.With(canary, "123456789012"))
			if got.passed {
				t.Fatal("let through")
			}
			message := position.ReplaceAllString(got.status.Message, "")
			if got.code != http.StatusBadRequest || !slices.Contains(constants, message) || !strings.Contains(message, b.Says) {
				t.Errorf("want 400 with a constant text that has %q, got %s", b.Says, got.raw)
			}
			if b.Field == "" {
				if got.status.Reason != metav1.StatusReasonBadRequest {
					t.Errorf("want the reason BadRequest, got %s", got.raw)
				}
				return
			}
			want := metav1.StatusDetails{Group: secret.GroupName, Kind: "SecureValue", Causes: []metav1.StatusCause{
				{Type: "FieldValueTypeInvalid", Field: b.Field, Message: b.Says},
			}}
			if got.status.Reason != metav1.StatusReasonInvalid || fmt.Sprint(got.status.Details) != fmt.Sprint(&want) {
				t.Errorf("want Invalid with %v, got %s", want, got.raw)
			}
		})
	}
}

func TestYAMLReadInTwoWays(t *testing.T) {
	a, b := "a", "b"
	tests := map[string]struct {
		converted string
		written   *string
		ok        bool
	}{
		"same":    {`{"spec":{"value":"a"}}`, &a, true},
		"other":   {`{"spec":{"value":"a"}}`, &b, false},
		"absent":  {`{"spec":{}}`, &a, false},
		"present": {`{"spec":{"value":"a"}}`, nil, false},
		"neither": {`{}`, nil, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := checkConverted([]byte(test.converted), test.written)
			if (err == nil) != test.ok || err != nil && err.Error() != textYAMLTwoWays {
				t.Errorf("want ok %v, got %v", test.ok, err)
			}
		})
	}
}
