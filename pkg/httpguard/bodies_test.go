// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

// object and list are JSON, and YAML, with so many members.
func object(members int) string {
	var b strings.Builder
	for i := range members {
		fmt.Fprintf(&b, `,"k%d": "v"`, i)
	}
	return "{" + b.String()[1:] + "}"
}

func list(elements int) string {
	return "[1" + strings.Repeat(",1", elements-1) + "]"
}

func TestBodiesThatPass(t *testing.T) {
	deep := strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1)
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
		"most members": {jsonType, `{"metadata":{"labels":` + object(maxMembers) + `},"a":` +
			list(maxMembers) + `}`},
		"most members in yaml": {yamlType, "metadata: {labels: " + object(maxMembers) + "}\na: " +
			list(maxMembers) + "\n"},
		"most managers": {"application/strategic-merge-patch+json", `{"metadata":{"managedFields":` +
			list(100) + `}}`},
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

func TestBodiesThatAreRefused(t *testing.T) {
	deep := strings.Repeat("[", maxDepth) + `"` + canary + `"` + strings.Repeat("]", maxDepth)
	tests := map[string]struct{ contentType, body, want string }{
		"empty":             {jsonType, "", textEmpty},
		"white space":       {jsonType, " \n", textNotJSON},
		"garbage":           {jsonType, canary, textNotJSON},
		"garbage, no type":  {"", canary, textNotJSON},
		"truncated":         {jsonType, `{"spec":{"value":"` + canary, textNotJSON},
		"trailing":          {jsonType, `{"a":"` + canary + `"}{}`, textNotJSON},
		"trailing patch":    {patchType, `[] ["` + canary + `"]`, textNotJSON},
		"comma":             {jsonType, `{"a":"` + canary + `",}`, textNotJSON},
		"comma in array":    {jsonType, `{"a":["` + canary + `",]}`, textNotJSON},
		"bare key":          {jsonType, `{` + canary + `:1}`, textNotJSON},
		"no colon":          {jsonType, `{"` + canary + `" 1}`, textNotJSON},
		"bad escape":        {jsonType, `{"a":"` + canary + `\x"}`, textNotJSON},
		"bad hex":           {jsonType, `{"a":"` + canary + `\u12g4"}`, textNotJSON},
		"control character": {jsonType, "{\"a\":\"" + canary + "\n\"}", textNotJSON},
		"leading zero":      {jsonType, `{"a":01}`, textNotJSON},
		"bare fraction":     {jsonType, `{"a":1.}`, textNotJSON},
		"bare exponent":     {jsonType, `{"a":1e}`, textNotJSON},
		"bare minus":        {jsonType, `{"a":-}`, textNotJSON},
		"half a word":       {jsonType, `{"a":tru`, textNotJSON},
		"other word":        {jsonType, `{"a":nulL}`, textNotJSON},
		"byte order mark":   {jsonType, "\ufeff{}", textNotJSON},
		"not UTF-8":         {jsonType, "{\"spec\":{\"value\":\"" + canary + "\xff\"}}", textNotUTF8},
		"patch not UTF-8":   {patchType, "[\"\xc3\x28\"]", textNotUTF8},
		"lone high":         {jsonType, `{"spec":{"value":"` + canary + `\ud83d"}}`, textSurrogate},
		"lone low":          {jsonType, `{"a":"` + canary + `\uDE00"}`, textSurrogate},
		"high high":         {jsonType, `{"a":"\ud83d\ud83d"}`, textSurrogate},
		"low low":           {jsonType, `{"a":"\uDE00\uDE00"}`, textSurrogate},
		"high letter":       {jsonType, `{"a":"\ud83dx"}`, textSurrogate},
		"lone in a key":     {jsonType, `{"\ud83d":1}`, textSurrogate},
		"lone in a patch":   {patchType, `[{"op":"add","path":"/spec/value","value":"\ud83d"}]`, textSurrogate},
		"string":            {jsonType, `"` + canary + `"`, textNotObject},
		"array":             {mergeType, `["` + canary + `"]`, textNotObject},
		"null":              {jsonType, `null`, textNotObject},
		"patch object":      {patchType, `{"a":"` + canary + `"}`, textNotPatch},
		"patch of strings":  {patchType, `["` + canary + `"]`, textNotPatch},
		"patch garbage":     {patchType, canary, textNotJSON},
		"patch truncated":   {patchType, `[{"op":"` + canary + `"}`, textNotJSON},
		"too deep":          {jsonType, `{"a":` + deep + `}`, textTooDeep},
		"too many members":  {jsonType, `{"metadata":{"labels":` + object(maxMembers+1) + `}}`, textTooMany},
		"too many elements": {jsonType, `{"a":` + list(maxMembers+1) + `}`, textTooMany},
		"too many managers": {"application/strategic-merge-patch+json", `{"metadata":{"managedFields":` +
			list(101) + `}}`, validation.ErrManagedFields.Error()},
		"escaped managers": {"application/strategic-merge-patch+json", `{"metadata":{"managedField\u0073":` +
			list(101) + `}}`, validation.ErrManagedFields.Error()},
		"too many in a merge": {mergeType, `{"metadata":{"labels":` + object(maxMembers+1) + `}}`, textTooMany},
		"too many in a patch": {patchType, `[{"op":"add","path":"/metadata/labels","value":` + object(maxMembers+1) +
			`}]`, textTooMany},
		"yaml too many members": {yamlType, "metadata: {labels: " + object(maxMembers+1) + "}\n", textTooMany},
		"yaml too many in list": {applyType, "a: " + list(maxMembers+1) + "\n", textTooMany},
		"too deep patch":        {patchType, `[{"value":` + deep + `}]`, textTooDeep},
		"yaml empty":            {yamlType, "", textEmpty},
		"yaml comment":          {yamlType, "# " + canary + "\n", textEmpty},
		"yaml not UTF-8":        {yamlType, "spec: {value: \"" + canary + "\xff\"}", textNotUTF8},
		"yaml UTF-16":           {yamlType, "\xff\xfea\x00", textNotUTF8},
		"yaml garbage":          {yamlType, "a: [" + canary, textNotYAML},
		"yaml tab":              {yamlType, "spec:\n\tvalue: " + canary, textNotYAML},
		"yaml word":             {yamlType, canary, textNotObject},
		"yaml list":             {yamlType, "- " + canary, textNotObject},
		"yaml null":             {yamlType, "---\n", textNotObject},
		"yaml two documents":    {yamlType, "a: 1\n---\nb: " + canary, textManyYAML},
		"yaml second is broken": {yamlType, "a: 1\n---\nb: [" + canary, textNotYAML},
		"yaml anchor":           {yamlType, "a: &" + canary + " b\n", textYAMLRefs},
		"yaml alias":            {yamlType, "a: &x 1\nspec: {value: *x}\n", textYAMLRefs},
		"yaml unknown alias":    {yamlType, "spec: {value: *" + canary + "}\n", textYAMLRefs},
		"yaml unknown alias 2":  {applyType, "spec:\n  value: *" + canary + "\n", textYAMLRefs},
		"yaml tag":              {yamlType, "spec: {value: !!int " + canary + "}\n", textYAMLRefs},
		"yaml string tag":       {applyType, "spec: {value: !!str 1}\n", textYAMLRefs},
		"yaml binary":           {yamlType, "spec: {value: !!binary aGk=}\n", textYAMLRefs},
		"yaml own tag":          {yamlType, "spec: !" + canary + " {}\n", textYAMLRefs},
		"yaml tag handle":       {yamlType, "a: !" + canary + "!b c\n", textYAMLRefs},
		"yaml tag on a key":     {yamlType, "!!str spec: {value: 1}\n", textYAMLRefs},
		"yaml merge":            {yamlType, "spec:\n  <<: {value: 1}\n", textYAMLMerge},
		"yaml pair escape":      {applyType, `{"spec":{"value":"\ud83d\ude00"}}`, textYAMLEscape},
		"yaml null key":         {yamlType, "~: " + canary + "\n", textNotYAML},
		"yaml map key":          {yamlType, "{a: b}: " + canary + "\n", textNotYAML},
		"yaml infinity":         {yamlType, "a: .inf\n", textNotYAML},
		"yaml too deep":         {yamlType, "a: " + deep + "\n", textTooDeep},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := send(t, methodOf(test.contentType), testPath, test.contentType, test.body)
			if got.passed {
				t.Fatal("let through")
			}
			if got.code != http.StatusBadRequest || got.status.Reason != metav1.StatusReasonBadRequest ||
				!strings.HasPrefix(got.status.Message, test.want) {
				t.Errorf("want 400 BadRequest %q, got %s", test.want, got.raw)
			}
			if rest := strings.TrimPrefix(got.status.Message, test.want); len(rest) > len(" (byte 9999)") {
				t.Errorf("more than a position behind the text: %q", rest)
			}
		})
	}
}

func TestValuesThatAreNoStrings(t *testing.T) {
	const value, spec = "spec.value", "spec"
	tests := map[string]struct{ contentType, body, field, text string }{
		"number":       {jsonType, `{"spec":{"value":123456}}`, value, textMustBeString},
		"bool":         {jsonType, `{"spec":{"value":true}}`, value, textMustBeString},
		"false":        {jsonType, `{"spec":{"value":false}}`, value, textMustBeString},
		"object":       {jsonType, `{"spec":{"value":{"a":"` + canary + `"}}}`, value, textMustBeString},
		"array":        {mergeType, `{"spec":{"value":["` + canary + `"]}}`, value, textMustBeString},
		"first of two": {smpType, `{"spec":{"value":1,"value":"` + canary + `"}}`, value, textMustBeString},
		"second of two": {jsonType, `{"spec":{"value":"` + canary + `"},"spec":{"value":-1}}`, value,
			textMustBeString},
		"escaped keys": {jsonType, `{"\u0073pec":{"v\u0061lue":1}}`, value, textMustBeString},
		"spec string":  {jsonType, `{"spec":"` + canary + `"}`, spec, textMustBeObject},
		"spec number":  {jsonType, `{"spec":1}`, spec, textMustBeObject},
		"spec array":   {jsonType, `{"spec":[{"value":1}]}`, spec, textMustBeObject},
		"patch":        {patchType, `[{"op":"add","path":"/spec/value","value":1}]`, value, textMustBeString},
		"patch value first": {patchType, `[{"value":{"a":"` + canary + `"},"path":"/spec/value"}]`, value,
			textMustBeString},
		"patch second op": {patchType,
			`[{"op":"test","path":"/a","value":1},{"op":"test","path":"/spec/value","value":1}]`, value,
			textMustBeString},
		"patch odd prefix": {patchType, `[{"op":"add","path":"x/spec/value","value":1}]`, value, textMustBeString},
		"patch escaped path": {patchType, `[{"op":"add","p\u0061th":"\/spec\u002fvalue","value":1}]`, value,
			textMustBeString},
		"patch two paths": {patchType, `[{"op":"add","path":"/spec/value","path":"/a","value":1}]`, value,
			textMustBeString},
		"patch two values": {patchType, `[{"op":"add","path":"/spec/value","value":"a","value":1}]`, value,
			textMustBeString},
		"patch spec": {patchType, `[{"op":"add","path":"/spec","value":{"value":1}}]`, value,
			textMustBeString},
		"patch first value": {patchType, `[{"op":"add","path":"/spec/value","value":1,"value":"a"}]`, value,
			textMustBeString},
		"patch spec string": {patchType, `[{"op":"add","path":"/spec","value":"` + canary + `"}]`, spec,
			textMustBeObject},
		"yaml spec":           {yamlType, "spec: " + canary + "\n", spec, textMustBeObject},
		"yaml list":           {yamlType, "spec: {value: [" + canary + "]}\n", value, textMustBeQuoted},
		"yaml map":            {yamlType, "spec: {value: {a: " + canary + "}}\n", value, textMustBeQuoted},
		"yaml first of two":   {applyType, "spec: {value: 1, value: " + canary + "}\n", value, textMustBeQuoted},
		"yaml quoted keys":    {yamlType, "\"spec\": {'value': 1}\n", value, textMustBeQuoted},
		"yaml explicit key":   {yamlType, "? spec\n: ? value\n  : 1\n", value, textMustBeQuoted},
		"yaml bang number":    {yamlType, "spec: {value: ! 123}\n", value, textMustBeQuoted},
		"apply json number":   {applyType, `{"spec":{"value":123456}}`, value, textMustBeQuoted},
		"apply json embedded": {applyType, "{\"spec\":\n{\"value\":\ntrue}}", value, textMustBeQuoted},
	}
	for _, scalar := range []string{
		"123456", "-1", "+1", "0777", "0o17", "0x1F", "0b11", "1_000", "1.5", ".5", "1e3", "1.e+3", ".inf", "-.Inf",
		".nan",
		"true", "False", "yes", "NO", "on", "Off", "y", "n", "Y", "N", "2024-01-01", "2001-12-14t21:59:43.10-05:00",
		"2001-12-14 21:59:43.10 -5", "1:30", "190:20:30.15", "-1:30", "=",
	} {
		tests["yaml "+scalar] = struct{ contentType, body, field, text string }{
			applyType, "spec:\n  value: " + scalar + "\n", value, textMustBeQuoted,
		}
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := send(t, methodOf(test.contentType), testPath, test.contentType, test.body)
			if got.passed {
				t.Fatal("let through")
			}
			want := metav1.StatusDetails{Group: secret.GroupName, Kind: "SecureValue", Causes: []metav1.StatusCause{
				{Type: "FieldValueTypeInvalid", Field: test.field, Message: test.text},
			}}
			if got.code != http.StatusBadRequest || got.status.Reason != metav1.StatusReasonInvalid ||
				got.status.Details == nil || fmt.Sprint(*got.status.Details) != fmt.Sprint(want) {
				t.Errorf("want 400 Invalid with %v, got %s", want, got.raw)
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
