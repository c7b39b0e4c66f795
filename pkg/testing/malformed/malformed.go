// SPDX-License-Identifier: Apache-2.0

// Package malformed is the one table of request bodies that cannot be read as they were meant: the request guard, the
// contract over HTTP and the leak suite send each of them. It must never hold a body that a rule of the API refuses:
// those are in pkg/testing/contract.
package malformed

import (
	"fmt"
	"net/http"
	"strings"
)

// Content types of the bodies.
const (
	JSON      = "application/json"
	YAML      = "application/yaml"
	Merge     = "application/merge-patch+json"
	Strategic = "application/strategic-merge-patch+json"
	Patch     = "application/json-patch+json"
	Apply     = "application/apply-patch+yaml"
)

// Body is a request body that is answered with 400.
type Body struct {
	Name string
	// Type is the Content-Type; "" for a request without one.
	Type string
	// Text has CANARY where a user would put a value, and DIGITS where the value is a number.
	Text string
	// Says is part of the message of the refusal.
	Says string
	// Field is the field whose type is wrong, "" for a body that cannot be parsed.
	Field string
}

// Method is that of a request with the body.
func (b Body) Method() string {
	if strings.Contains(b.Type, "patch") {
		return http.MethodPatch
	}
	return http.MethodPost
}

// With returns the text with a canary and a number in it.
func (b Body) With(canary, digits string) string {
	return strings.NewReplacer("CANARY", canary, "DIGITS", digits).Replace(b.Text)
}

// What the refusals say.
const (
	empty     = "the request body is empty"
	notJSON   = "not valid JSON"
	notObject = "not an object"
	notPatch  = "not a JSON patch"
	notUTF8   = "UTF-8"
	surrogate = "lone surrogate"
	tooDeep   = "nested deeper than 100 levels"
	tooMany   = "more than 2000 members"
	managers  = "metadata.managedFields"
	notYAML   = "not valid YAML"
	manyYAML  = "more than one YAML document"
	refs      = "anchors, aliases and tags"
	mergeKey  = "merge keys"
	pair      = "escaped surrogate pair"

	notString = "must be a string"
	notQuoted = "must be a string: put it in quotes"
	notMap    = "must be an object"
	value     = "spec.value"
	spec      = "spec"
)

// withValue is an object with a value as it is written.
func withValue(raw string) string {
	return `{"metadata":{"name":"bad"},"spec":{"description":"d","value":` + raw + `}}`
}

// Object and List have so many members, in JSON and in YAML.
func Object(members int) string {
	var b strings.Builder
	for i := range members {
		fmt.Fprintf(&b, `,"k%d": "v"`, i)
	}
	return "{" + b.String()[1:] + "}"
}

// List is a list of so many numbers.
func List(elements int) string { return "[1" + strings.Repeat(",1", elements-1) + "]" }

// Nested is text in so many lists.
func Nested(depth int, text string) string {
	return strings.Repeat("[", depth) + text + strings.Repeat("]", depth)
}

// Bodies are all of them.
func Bodies() []Body {
	all := append(append(append([]Body{}, unreadableJSON...), unreadablePatches...), unreadableYAML...)
	all = append(all, wrongTypes...)
	for _, scalar := range []string{
		"123456", "-1", "+1", "0777", "0o17", "0x1F", "0b11", "1_000", "1.5", ".5", "1e3", "1.e+3", ".inf", "-.Inf",
		".nan", "true", "False", "yes", "NO", "on", "Off", "y", "n", "Y", "N", "2024-01-01",
		"2001-12-14t21:59:43.10-05:00", "2001-12-14 21:59:43.10 -5", "1:30", "190:20:30.15", "-1:30", "=",
	} {
		all = append(all, Body{"YAML " + scalar, Apply, "spec:\n  value: " + scalar + "\n", notQuoted, value})
	}
	for _, b := range unreadableJSON[:10] {
		b.Name, b.Type = b.Name+" without a Content-Type", ""
		all = append(all, b)
	}
	return all
}

var unreadableJSON = []Body{
	{"empty", JSON, "", empty, ""},
	{"white space", JSON, " \n\t", notJSON, ""},
	{"a bare word", JSON, "CANARY", notJSON, ""},
	{"null", JSON, "null", notObject, ""},
	{"a list", JSON, `["CANARY"]`, notObject, ""},
	{"a string", JSON, `"CANARY"`, notObject, ""},
	{"a number", JSON, "DIGITS", notObject, ""},
	{"truncated in the value", JSON, `{"metadata":{"name":"bad"},"spec":{"description":"d","value":"CANARY`, notJSON, ""},
	{"truncated after the value", JSON, `{"metadata":{"name":"bad"},"spec":{"value":"CANARY"`, notJSON, ""},
	{"a comma too many", JSON, withValue(`"CANARY",`), notJSON, ""},
	{"a comma missing", JSON, `{"metadata":{"name":"bad"},"spec":{"value":"CANARY" "description":"d"}}`, notJSON, ""},
	{"a comma in a list", JSON, `{"a":["CANARY",]}`, notJSON, ""},
	{"a bare key", JSON, `{CANARY:1}`, notJSON, ""},
	{"no colon", JSON, `{"CANARY" 1}`, notJSON, ""},
	{"a quote too many", JSON, withValue(`"CANARY"CANARY"`), notJSON, ""},
	{"single quotes", JSON, withValue(`'CANARY'`), notJSON, ""},
	{"no quotes", JSON, withValue(`xCANARY`), notJSON, ""},
	{"an unknown escape", JSON, withValue(`"\CANARY"`), notJSON, ""},
	{"an escape after the value", JSON, withValue(`"CANARY\x41"`), notJSON, ""},
	{"a bad number in an escape", JSON, withValue(`"CANARY\u12g4"`), notJSON, ""},
	{"text after the object", JSON, withValue(`"CANARY"`) + "CANARY", notJSON, ""},
	{"two objects", JSON, withValue(`"CANARY"`) + withValue(`"CANARY"`), notJSON, ""},
	{"a comment in front", JSON, "// CANARY\n" + withValue(`"CANARY"`), notJSON, ""},
	{"a comment", JSON, withValue(`"a" /* CANARY */`), notJSON, ""},
	{"a byte order mark", JSON, "\ufeff" + withValue(`"CANARY"`), notJSON, ""},
	{"UTF-16", JSON, "\xff\xfe{\x00", notUTF8, ""},
	{"UTF-16 without its mark", JSON, "{\x00\"\x00s\x00CANARY\x00", notJSON, ""},
	{"YAML", JSON, "metadata: {name: bad}\nspec: {description: d, value: CANARY}\n", notJSON, ""},
	{"protobuf", JSON, "k8s\x00\x0aCANARY", notJSON, ""},
	{"a raw line break in the value", JSON, withValue("\"CANARY\nCANARY\""), notJSON, ""},
	{"a raw NUL in the value", JSON, withValue("\"CANARY\x00\""), notJSON, ""},
	{"NaN", JSON, withValue("NaN"), notJSON, ""},
	{"a leading zero", JSON, `{"a":01}`, notJSON, ""},
	{"a bare fraction", JSON, `{"a":1.}`, notJSON, ""},
	{"a bare exponent", JSON, `{"a":1e}`, notJSON, ""},
	{"a bare minus", JSON, `{"a":-}`, notJSON, ""},
	{"half a word", JSON, `{"a":tru`, notJSON, ""},
	{"another word", JSON, `{"a":nulL}`, notJSON, ""},
	{"invalid UTF-8", JSON, withValue("\"CANARY\xff\xfe\""), notUTF8, ""},
	{"an overlong encoding", JSON, withValue("\"CANARY\xc0\xaf\""), notUTF8, ""},
	{"a surrogate in UTF-8", JSON, withValue("\"CANARY\xed\xa0\x80\""), notUTF8, ""},
	{"a lone high surrogate", JSON, withValue(`"CANARY\ud800"`), surrogate, ""},
	{"a lone low surrogate", JSON, withValue(`"\udc00CANARY"`), surrogate, ""},
	{"two high surrogates", JSON, withValue(`"\ud83d\ud83dCANARY"`), surrogate, ""},
	{"two low surrogates", JSON, withValue(`"\uDE00\uDE00CANARY"`), surrogate, ""},
	{"a high surrogate before a letter", JSON, withValue(`"\ud83dCANARY"`), surrogate, ""},
	{"a lone surrogate in a name", JSON, `{"metadata":{"name":"a\ud800"},"spec":{"value":"CANARY"}}`, surrogate, ""},
	{"a lone surrogate in a key", JSON, `{"\ud83d":"CANARY"}`, surrogate, ""},
	{"objects nested too deep", JSON, strings.Repeat(`{"a":`, 5000) + `"CANARY"` + strings.Repeat("}", 5000), tooDeep, ""},
	{"lists nested too deep", JSON, `{"a":` + Nested(100, `"CANARY"`) + `}`, tooDeep, ""},
	{"too many members", JSON, `{"metadata":{"labels":` + Object(2001) + `}}`, tooMany, ""},
	{"too many elements", JSON, `{"a":` + List(2001) + `}`, tooMany, ""},
}

var unreadablePatches = []Body{
	{"a list as a merge patch", Merge, `["CANARY"]`, notObject, ""},
	{"a merge patch with too many members", Merge, `{"metadata":{"labels":` + Object(2001) + `}}`, tooMany, ""},
	{"too many managers", Strategic, `{"metadata":{"managedFields":` + List(101) + `}}`, managers, ""},
	{"too many managers, escaped", Strategic, `{"metadata":{"managedField\u0073":` + List(101) + `}}`, managers, ""},
	{"an empty patch", Patch, "", empty, ""},
	{"an object as a patch", Patch, `{"op":"add","path":"/spec/value","value":"CANARY"}`, notPatch, ""},
	{"a patch of words", Patch, `["CANARY"]`, notPatch, ""},
	{"a word as a patch", Patch, "CANARY", notJSON, ""},
	{"half a patch", Patch, `[{"op":"add","path":"/spec/value","value":"CANARY`, notJSON, ""},
	{"a patch that is not closed", Patch, `[{"op":"CANARY"}`, notJSON, ""},
	{"text after a patch", Patch, `[] ["CANARY"]`, notJSON, ""},
	{"a patch of invalid UTF-8", Patch, "[\"CANARY\xc3\x28\"]", notUTF8, ""},
	{"a lone surrogate in a patch", Patch, `[{"op":"add","path":"/spec/value","value":"CANARY\ud83d"}]`, surrogate, ""},
	{"a patch with too many members", Patch, `[{"op":"add","path":"/metadata/labels","value":` + Object(2001) + `}]`,
		tooMany, ""},
	{"a patch nested too deep", Patch, `[{"value":` + Nested(100, `"CANARY"`) + `}]`, tooDeep, ""},
}

var unreadableYAML = []Body{
	{"empty YAML", YAML, "", empty, ""},
	{"a YAML comment", YAML, "# CANARY\n", empty, ""},
	{"YAML of invalid UTF-8", YAML, "spec: {value: \"CANARY\xff\"}", notUTF8, ""},
	{"YAML in UTF-16", YAML, "\xff\xfea\x00", notUTF8, ""},
	{"a YAML list that is not closed", YAML, "a: [CANARY", notYAML, ""},
	{"a YAML quote that is not closed", YAML, "spec:\n  value: \"CANARY", notYAML, ""},
	{"a tab", YAML, "spec:\n\tvalue: CANARY", notYAML, ""},
	{"a wrong indent", YAML, "spec:\n  description: d\n value: CANARY\n", notYAML, ""},
	{"two colons", YAML, "spec:\n  value: CANARY: CANARY\n", notYAML, ""},
	{"a percent sign", YAML, "spec:\n  value: %CANARY\n", notYAML, ""},
	{"an at sign", YAML, "spec:\n  value: @CANARY\n", notYAML, ""},
	{"an unknown YAML escape", YAML, "spec:\n  value: \"\\qCANARY\"\n", notYAML, ""},
	{"a lone surrogate in YAML", YAML, "spec:\n  value: \"CANARY\\ud800\"\n", pair, ""},
	{"an unknown directive", YAML, "%CANARY 9\n---\nspec: {value: CANARY}\n", notYAML, ""},
	{"a key that is null", YAML, "~: CANARY\n", notYAML, ""},
	{"a key that is a map", YAML, "{a: b}: CANARY\n", notYAML, ""},
	{"a key that is a list", YAML, "spec:\n  ? [CANARY]\n  : CANARY\n", notYAML, ""},
	{"infinity", YAML, "a: .inf\n", notYAML, ""},
	{"a YAML word", YAML, "CANARY", notObject, ""},
	{"a YAML list", YAML, "- CANARY\n", notObject, ""},
	{"a YAML null", YAML, "---\n", notObject, ""},
	{"two documents", YAML, "a: 1\n---\nb: CANARY\n", manyYAML, ""},
	{"a broken second document", YAML, "a: 1\n---\nb: [CANARY", notYAML, ""},
	{"two documents to apply", Apply, "spec: {value: CANARY}\n---\nspec: {value: CANARY}\n", manyYAML, ""},
	{"an anchor", YAML, "spec:\n  value: &CANARY CANARY\n", refs, ""},
	{"an alias", YAML, "a: &x CANARY\nspec: {value: *x}\n", refs, ""},
	{"an unknown alias", YAML, "spec: {value: *CANARY}\n", refs, ""},
	{"an unknown alias to apply", Apply, "spec:\n  value: *CANARY\n", refs, ""},
	{"an alias bomb", YAML, "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nspec: {value: CANARY}\n", refs, ""},
	{"a tag that does not fit", YAML, "spec: {value: !!int CANARY}\n", refs, ""},
	{"a tag that fits", Apply, "spec: {value: !!str CANARY}\n", refs, ""},
	{"a binary tag", YAML, "spec: {value: !!binary CANARY=}\n", refs, ""},
	{"a local tag", YAML, "spec: !CANARY {}\n", refs, ""},
	{"a tag handle", YAML, "a: !CANARY!b c\n", refs, ""},
	{"a tag on a key", YAML, "!!str spec: {value: CANARY}\n", refs, ""},
	{"a merge key", YAML, "spec:\n  value: CANARY\n  <<: {value: CANARY}\n", mergeKey, ""},
	{"a surrogate pair in YAML", Apply, `{"spec":{"value":"CANARY\ud83d\ude00"}}`, pair, ""},
	{"YAML nested too deep", YAML, "a: " + Nested(100, `"CANARY"`) + "\n", tooDeep, ""},
	{"YAML with too many members", YAML, "metadata: {labels: " + Object(2001) + "}\n", tooMany, ""},
	{"YAML with too many elements", Apply, "a: " + List(2001) + "\n", tooMany, ""},
}

// wrongTypes can be parsed, and have something other than a string in place of the value.
var wrongTypes = []Body{
	{"a value of digits", JSON, withValue(`DIGITS`), notString, value},
	{"a value of digits after a zero", JSON, withValue(`0DIGITS`), notString, value},
	{"a fraction", JSON, withValue(`-0.DIGITSe-5`), notString, value},
	{"true", JSON, withValue(`true`), notString, value},
	{"false", JSON, withValue(`false`), notString, value},
	{"a value that is an object", JSON, withValue(`{"CANARY":"CANARY"}`), notString, value},
	{"a value that is a list", Merge, withValue(`["CANARY"]`), notString, value},
	{"a value nested too deep", JSON, withValue(Nested(5000, `"CANARY"`)), notString, value},
	{"the first of two values", Strategic, `{"spec":{"value":DIGITS,"value":"CANARY"}}`, notString, value},
	{"the second of two values", JSON, `{"spec":{"value":"CANARY"},"spec":{"value":-DIGITS}}`, notString, value},
	{"escaped keys", JSON, `{"\u0073pec":{"v\u0061lue":DIGITS}}`, notString, value},
	{"a spec that is a string", JSON, `{"spec":"CANARY"}`, notMap, spec},
	{"a spec that is a number", JSON, `{"spec":DIGITS}`, notMap, spec},
	{"a spec that is a list", JSON, `{"spec":[{"value":"CANARY"}]}`, notMap, spec},
	{"a patch", Patch, `[{"op":"add","path":"/spec/value","value":DIGITS}]`, notString, value},
	{"a patch, value first", Patch, `[{"value":{"a":"CANARY"},"path":"/spec/value"}]`, notString, value},
	{"the second operation of a patch", Patch,
		`[{"op":"test","path":"/a","value":1},{"op":"test","path":"/spec/value","value":DIGITS}]`, notString, value},
	{"a patch with an odd path", Patch, `[{"op":"add","path":"x/spec/value","value":DIGITS}]`, notString, value},
	{"a patch with an escaped path", Patch, `[{"op":"add","p\u0061th":"\/spec\u002fvalue","value":DIGITS}]`, notString, value},
	{"a patch with two paths", Patch, `[{"op":"add","path":"/spec/value","path":"/a","value":DIGITS}]`, notString, value},
	{"a patch with two values", Patch, `[{"op":"add","path":"/spec/value","value":"CANARY","value":1}]`, notString, value},
	{"a patch with two values, string last", Patch, `[{"op":"add","path":"/spec/value","value":1,"value":"CANARY"}]`,
		notString, value},
	{"a patch of the spec", Patch, `[{"op":"add","path":"/spec","value":{"value":DIGITS}}]`, notString, value},
	{"a patch of the spec by a string", Patch, `[{"op":"add","path":"/spec","value":"CANARY"}]`, notMap, spec},
	{"a YAML spec that is a word", YAML, "metadata: {name: bad}\nspec: CANARY\n", notMap, spec},
	{"a YAML value that is a list", YAML, "spec: {value: [CANARY]}\n", notQuoted, value},
	{"a YAML value that is a map", YAML, "spec: {value: {CANARY: CANARY}}\n", notQuoted, value},
	{"a YAML value that is a number", YAML, "spec: {value: DIGITS}\n", notQuoted, value},
	{"the first of two YAML values", Apply, "spec: {value: DIGITS, value: CANARY}\n", notQuoted, value},
	{"quoted YAML keys", YAML, "\"spec\": {'value': DIGITS}\n", notQuoted, value},
	{"explicit YAML keys", YAML, "? spec\n: ? value\n  : DIGITS\n", notQuoted, value},
	{"a number with a bang", YAML, "spec: {value: ! 123}\n", notQuoted, value},
	{"JSON to apply", Apply, `{"spec":{"value":DIGITS}}`, notQuoted, value},
	{"JSON to apply, in lines", Apply, "{\"spec\":\n{\"value\":\ntrue}}", notQuoted, value},
}
