// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"

	"github.com/securevalue/secret-apiserver/pkg/testing/malformed"
)

// outcome is what a write of a kind gets: so that the table tests what it says.
type outcome int

const (
	either outcome = iota
	accepted
	refused
)

// kind is one way to get a body right or wrong.
type kind struct {
	name    string
	formats []format
	want    outcome
	// document has CANARY where a user puts a value, ESCAPED for one that is written in escapes, and DIGITS for a number.
	document document
	// mangle changes the written body, in which word is the first canary, and may write more of the placeholders.
	mangle func(body, word string) string
}

// build places fresh canaries.
func (k kind) build(c *caster) document {
	d, before := k.document, len(c.made)
	d.text, d.raw, d.annotation = c.fill(d.text), c.fill(d.raw), c.fill(d.annotation)
	d.spec, d.top = c.fillAll(d.spec), c.fillAll(d.top)
	if k.mangle != nil {
		word := ""
		if len(c.made) > before {
			word = c.made[before]
		}
		d.mangle = func(body string) string { return c.fill(k.mangle(body, word)) }
	}
	return d
}

func (c *caster) fillAll(members []member) []member {
	filled := make([]member, 0, len(members))
	for _, m := range members {
		filled = append(filled, member{m.name, c.fill(m.raw)})
	}
	return filled
}

var placeholder = regexp.MustCompile("CANARY|ESCAPED|DIGITS")

func (c *caster) fill(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		switch found {
		case "DIGITS":
			return c.number()
		case "ESCAPED":
			var b strings.Builder
			for _, r := range c.word() {
				fmt.Fprintf(&b, `\u%04x`, r)
			}
			return b.String()
		}
		return c.word()
	})
}

var (
	text   = []format{asJSON, asYAML, asJSONPatch}
	trees  = []format{asJSON, asYAML}
	every  = []format{asJSON, asYAML, asJSONPatch, asProtobuf}
	jsons  = []format{asJSON, asJSONPatch}
	yamls  = []format{asYAML}
	protos = []format{asProtobuf}
)

var (
	// misspelt are names that a hand types for value, misplaced places that users of core Secrets think of.
	misspelt = []member{
		{"vlaue", `"CANARY"`}, {"Value", `"CANARY"`}, {"values", `["CANARY"]`}, {"data", `{"value":"CANARY"}`}, {"secret", "DIGITS"},
	}
	misplaced = []member{
		{"value", `"CANARY"`}, {"data", `{"value":"CANARY"}`}, {"stringData", `{"value":"CANARY"}`}, {"sealed", `"CANARY"`},
	}
)

func raw(text string) document                 { return document{raw: text} }
func annotated(text string) document           { return document{text: "CANARY", annotation: text} }
func typed(contentType string) document        { return document{text: "CANARY", contentType: contentType} }
func with(raw string, spec ...member) document { return document{raw: raw, spec: spec} }

var plain = document{text: "CANARY"}

// kinds are ordered from good to broken. malformed has what cannot be parsed at all.
var kinds = append([]kind{
	{"good", every, accepted, plain, nil},
	{"several lines", every, accepted, document{text: "CANARY\nCANARY\r\n"}, nil},
	{"characters that need escapes", every, accepted, document{text: "CANARY<>&\"'\\\n\t%{}$\u2028é☃😀\x00CANARY"}, nil},
	{"written in escapes", jsons, accepted, raw(`"ESCAPED\ud83d\ude00"`), nil},
	{"of the largest size", every, accepted, document{text: "CANARY" + strings.Repeat("x", 24576-2*wordSize) + "CANARY"}, nil},
	{"last-applied manifest", every, accepted, annotated(document{
		name: "n", kind: "SecureValue", raw: `"CANARY"`, spec: misspelt, top: misplaced,
	}.json()), nil},
	{"last-applied with a key twice", every, accepted, annotated(document{
		name: "n", kind: "SecureValue", raw: `"CANARY","value":"CANARY"`,
	}.json()), nil},
	{"last-applied with spec twice", every, accepted,
		annotated(`{"spec":{"value":"CANARY"},"spec":{"value":["CANARY"]}}`), nil},
	{"last-applied with the value elsewhere", every, accepted,
		annotated(`{"Spec":{"value":"CANARY"},"status":{"value":"CANARY"},"spec":"CANARY"}`), nil},
	{"last-applied that is not JSON", every, accepted, annotated("spec:\n  value: CANARY"), nil},
	{"last-applied cut short", every, accepted, annotated(`{"spec":{"value":"CANARY`), nil},
	{"plain scalar", yamls, accepted, raw("CANARY"), nil},
	{"single-quoted scalar", yamls, accepted, raw("'CANARY '' CANARY'"), nil},
	{"literal block", yamls, accepted, raw("|\n    CANARY\n    CANARY"), nil},
	{"folded block", yamls, accepted, raw(">-\n    CANARY\n    CANARY"), nil},
	{"value in a comment", yamls, accepted, raw("CANARY # CANARY"), nil},
	{"directive", yamls, either, raw("CANARY"), func(body, _ string) string { return "%CANARY\n---\n" + body }},

	{"beside unknown fields", text, either, document{text: "CANARY", spec: misspelt, top: misplaced}, nil},
	{"only in misspelt fields", text, either, document{spec: misspelt}, nil},
	{"only in misplaced fields", text, either, document{top: misplaced}, nil},
	{"deep in an unknown field", text, either,
		document{text: "CANARY", spec: []member{{"secret", malformed.Nested(50, `"CANARY"`)}}}, nil},
	{"core Secret", text, either, document{kind: "Secret", top: misplaced}, nil},
	{"wrong kind", every, either, document{kind: "SecureValueList", text: "CANARY"}, nil},
	{"unknown kind", every, either, document{kind: "Password", text: "CANARY"}, nil},

	{"bool", text, refused, with("true", misspelt...), nil},
	{"null", text, either, with("null", misspelt...), nil},
	{"exponent", text, refused, raw("DIGITSe200"), nil},
	{"spec is the value", trees, either, document{top: []member{{"spec", `"CANARY"`}}}, nil},
	{"too large a value", every, refused, document{text: "CANARY" + strings.Repeat("x", 24576) + "CANARY"}, nil},
	{"too large a body", every, refused, document{text: "CANARY" + strings.Repeat("x", 1<<20) + "CANARY"}, nil},
	{"too large an annotation", every, either, annotated(strings.Repeat("x", 300000) + "CANARY"), nil},
	{"key twice", trees, either, with(`"CANARY"`, member{"value", `"CANARY"`}), nil},
	{"key twice, a number first", trees, either, with(`"CANARY"`, member{"value", "DIGITS"}), nil},
	{"invalid UTF-8", every, refused, plain, func(body, word string) string {
		return strings.Replace(body, word, word[:8]+"\xff"+word[9:], 1)
	}},

	{"empty list", every, either, plain, func(string, string) string { return `["CANARY"]` }},
	{"nothing but the value", every, refused, document{}, func(string, string) string { return "CANARY" }},
	{"cut inside of the value", every, refused, plain,
		func(body, word string) string { return body[:strings.Index(body, word)+12] }},
	{"value in front", []format{asJSON, asJSONPatch, asProtobuf}, refused, plain,
		func(body, _ string) string { return "CANARY " + body }},
	{"garbage in protobuf", protos, refused, plain,
		func(body, _ string) string { return body[:4] + "\x12\x7fCANARY" + body }},
	{"length of the value too long", protos, refused, plain,
		func(body, word string) string { return strings.Replace(body, "\x10"+word, "\x7f"+word, 1) }},
	{"connection broken off", every, either, document{text: "CANARY", breakOff: true}, nil},
	{"as text/plain", every, refused, typed("text/plain"), nil},
	{"as a form", every, refused, typed("application/x-www-form-urlencoded"), nil},
	{"as JSON", []format{asYAML, asProtobuf}, refused, typed("application/json"), nil},
	{"as YAML", []format{asJSON, asProtobuf}, either, typed("application/yaml"), nil},
	{"as protobuf", text, refused, typed("application/vnd.kubernetes.protobuf"), nil},
	{"as CBOR", every, refused, typed("application/cbor"), nil},
	{"as a patch", every, either, typed("application/merge-patch+json"), nil},
	{"as an apply patch", every, either, typed("application/apply-patch+yaml"), nil},
	{"as nonsense", every, refused, typed("nonsense;;="), nil},
}, malformedKinds()...)

// malformedKinds are those of the bodies that all suites share that have a value in them.
func malformedKinds() (all []kind) {
	for _, b := range malformed.Bodies() {
		if strings.Contains(b.Text, "CANARY") {
			written := map[string]format{malformed.YAML: asYAML, malformed.Apply: asYAML, malformed.Patch: asJSONPatch}[b.Type]
			all = append(all, kind{b.Name, []format{written}, refused, document{}, func(string, string) string { return b.Text }})
		}
	}
	return all
}

const (
	letters  = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	digits   = "0123456789"
	wordSize = 16
)

// caster makes the fresh canaries of one request and remembers them.
type caster struct {
	random *rand.Rand
	made   []string
}

// newCaster repeats itself for the same seed and request.
func newCaster(seed, request uint64) *caster {
	return &caster{random: rand.New(rand.NewPCG(seed, request))}
}

// word returns a canary that is the same in JSON, YAML and a URL.
func (c *caster) word() string { return c.pick(letters, letters+digits, wordSize) }

// number returns a canary of digits.
func (c *caster) number() string { return c.pick(digits[1:], digits, 18) }

func (c *caster) pick(first, rest string, size int) string {
	b := make([]byte, size)
	b[0] = first[c.random.IntN(len(first))]
	for i := 1; i < size; i++ {
		b[i] = rest[c.random.IntN(len(rest))]
	}
	c.made = append(c.made, string(b))
	return string(b)
}
