// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"fmt"
	"slices"
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

// kind is one way to get a body right or wrong. build places fresh canaries where a user puts a value.
type kind struct {
	name    string
	formats []format
	want    outcome
	build   func(c *caster) document
}

var (
	text   = []format{asJSON, asYAML, asJSONPatch}
	trees  = []format{asJSON, asYAML}
	every  = []format{asJSON, asYAML, asJSONPatch, asProtobuf}
	jsons  = []format{asJSON, asJSONPatch}
	yamls  = []format{asYAML}
	protos = []format{asProtobuf}
)

// kinds are ordered from good to broken.
var kinds = slices.Concat(goodKinds, misplacedKinds, typeKinds, brokenKinds, yamlKinds, malformedKinds())

// malformedKinds are those of the bodies that all suites share that have a value in them.
func malformedKinds() (all []kind) {
	for _, b := range malformed.Bodies() {
		if !strings.Contains(b.Text, "CANARY") {
			continue
		}
		written := map[string]format{malformed.YAML: asYAML, malformed.Apply: asYAML, malformed.Patch: asJSONPatch}[b.Type]
		all = append(all, kind{b.Name, []format{written}, refused, func(c *caster) document {
			digits := "1"
			if strings.Contains(b.Text, "DIGITS") {
				digits = c.number()
			}
			text := b.With(c.word(), digits)
			return document{mangle: func(string) string { return text }}
		}})
	}
	return all
}

var goodKinds = []kind{
	{"good", every, accepted, func(c *caster) document { return document{text: c.word()} }},
	{"several lines", every, accepted, func(c *caster) document {
		return document{text: c.word() + "\n" + c.word() +
			"\r\n"}
	}},
	{"characters that need escapes", every, accepted, func(c *caster) document {
		return document{text: c.word() + "<>&\"'\\\n\t%{}$\u2028é☃😀\x00" + c.word()}
	}},
	{"written in escapes", jsons, accepted, func(c *caster) document {
		var b strings.Builder
		for _, r := range c.word() {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		return document{raw: `"` + b.String() + `\ud83d\ude00"`}
	}},
	{"of the largest size", every, accepted, func(c *caster) document {
		return document{text: c.word() + strings.Repeat("x", 24576-2*wordSize) + c.word()}
	}},
	{"last-applied manifest", every, accepted, func(c *caster) document {
		manifest := document{
			name: "n", kind: "SecureValue", raw: quote(c.word()), spec: misspelt(c), top: misplaced(c),
		}
		return document{text: c.word(), annotation: manifest.json()}
	}},
	{"last-applied with a key twice", every, accepted, func(c *caster) document {
		manifest := document{name: "n", kind: "SecureValue", raw: quote(c.word()) + `,"value":` + quote(c.word())}
		return document{text: c.word(), annotation: manifest.json()}
	}},
	{"last-applied with spec twice", every, accepted, func(c *caster) document {
		return document{text: c.word(), annotation: `{"spec":{"value":"` + c.word() + `"},"spec":{"value":["` +
			c.word() + `"]}}`}
	}},
	{"last-applied with the value elsewhere", every, accepted, func(c *caster) document {
		return document{text: c.word(), annotation: `{"Spec":{"value":"` + c.word() + `"},"status":{"value":"` +
			c.word() + `"},"spec":"` + c.word() + `"}`}
	}},
	{"last-applied that is not JSON", every, accepted, func(c *caster) document {
		return document{text: c.word(), annotation: "spec:\n  value: " + c.word()}
	}},
	{"last-applied cut short", every, accepted, func(c *caster) document {
		return document{text: c.word(), annotation: `{"spec":{"value":"` + c.word()}
	}},
}

var misplacedKinds = []kind{
	{"beside unknown fields", text, either, func(c *caster) document {
		return document{text: c.word(), spec: misspelt(c), top: misplaced(c)}
	}},
	{"only in misspelt fields", text, either, func(c *caster) document { return document{spec: misspelt(c)} }},
	{"only in misplaced fields", text, either, func(c *caster) document { return document{top: misplaced(c)} }},
	{"deep in an unknown field", text, either, func(c *caster) document {
		return document{text: c.word(), spec: []member{{"secret", nested(50, quote(c.word()))}}}
	}},
	{"core Secret", text, either, func(c *caster) document {
		return document{kind: "Secret", top: misplaced(c)}
	}},
	{"wrong kind", every, either, func(c *caster) document {
		return document{kind: "SecureValueList",
			text: c.word()}
	}},
	{"unknown kind", every, either, func(c *caster) document { return document{kind: "Password", text: c.word()} }},
}

// misspelt are names that a hand types for value.
func misspelt(c *caster) []member {
	return []member{
		{"vlaue", quote(c.word())}, {"Value", quote(c.word())}, {"values", `["` + c.word() + `"]`},
		{"data", `{"value":"` + c.word() + `"}`}, {"secret", c.number()},
	}
}

// misplaced are places that users of core Secrets think of.
func misplaced(c *caster) []member {
	return []member{
		{"value", quote(c.word())}, {"data", `{"value":"` + c.word() + `"}`},
		{"stringData", `{"value":"` + c.word() + `"}`}, {"sealed", quote(c.word())},
	}
}

var typeKinds = []kind{
	{"number", text, refused, func(c *caster) document { return document{raw: c.number()} }},
	{"fraction", text, refused, func(c *caster) document { return document{raw: "0." + c.number()} }},
	{"exponent", text, refused, func(c *caster) document { return document{raw: c.number() + "e200"} }},
	{"bool", text, refused, func(c *caster) document { return document{raw: "true", spec: misspelt(c)} }},
	{"null", text, either, func(c *caster) document { return document{raw: "null", spec: misspelt(c)} }},
	{"object", text, refused, func(c *caster) document {
		return document{raw: `{"` + c.word() + `":"` + c.word() +
			`"}`}
	}},
	{"array", text, refused, func(c *caster) document { return document{raw: `["` + c.word() + `"]`} }},
	{"deep", text, refused, func(c *caster) document { return document{raw: nested(150, quote(c.word()))} }},
	{"deeper than any stack", text, refused, func(c *caster) document {
		return document{raw: nested(20000,
			quote(c.word()))}
	}},
	{"spec is the value", trees, either, func(c *caster) document {
		return document{top: []member{{"spec",
			quote(c.word())}}}
	}},
	{"too large a value", every, refused, func(c *caster) document {
		return document{text: c.word() + strings.Repeat("x", 24576) + c.word()}
	}},
	{"too large a body", every, refused, func(c *caster) document {
		return document{text: c.word() + strings.Repeat("x", 1<<20) + c.word()}
	}},
	{"too large an annotation", every, either, func(c *caster) document {
		return document{text: c.word(), annotation: strings.Repeat("x", 300000) + c.word()}
	}},
	{"key twice", trees, either, func(c *caster) document {
		return document{raw: quote(c.word()), spec: []member{{"value", quote(c.word())}}}
	}},
	{"key twice, a number first", trees, either, func(c *caster) document {
		return document{raw: quote(c.word()), spec: []member{{"value", c.number()}}}
	}},
	{"invalid UTF-8", every, refused, func(c *caster) document {
		word := c.word()
		return document{text: word, mangle: replace(word, word[:8]+"\xff"+word[9:])}
	}},
	{"lone surrogate", text, refused, func(c *caster) document { return document{raw: `"` + c.word() + `\ud800"`} }},
	{"lone surrogate in front", text, refused,
		func(c *caster) document { return document{raw: `"\udfff` + c.word() + `"`} }},
}

var brokenKinds = []kind{
	{"empty list", every, either, func(c *caster) document {
		word := c.word()
		return document{text: word, mangle: func(string) string { return `["` + word + `"]` }}
	}},
	{"nothing but the value", every, refused, func(c *caster) document {
		word := c.word()
		return document{mangle: func(string) string { return word }}
	}},
	{"cut inside of the value", every, refused, func(c *caster) document {
		word := c.word()
		return document{text: word, mangle: func(body string) string { return body[:strings.Index(body, word)+12] }}
	}},
	{"value in front", []format{asJSON, asJSONPatch, asProtobuf}, refused, func(c *caster) document {
		word := c.word()
		return document{text: c.word(), mangle: func(body string) string { return word + " " + body }}
	}},
	{"garbage in protobuf", protos, refused, func(c *caster) document {
		word := c.word()
		return document{text: c.word(), mangle: func(body string) string { return body[:4] + "\x12\x7f" + word + body }}
	}},
	{"length of the value too long", protos, refused, func(c *caster) document {
		word := c.word()
		return document{text: word, mangle: replace("\x10"+word, "\x7f"+word)}
	}},
	{"connection broken off", every, either, func(c *caster) document {
		return document{text: c.word(),
			breakOff: true}
	}},
	{"as text/plain", every, refused, typed("text/plain")},
	{"as a form", every, refused, typed("application/x-www-form-urlencoded")},
	{"as JSON", []format{asYAML, asProtobuf}, refused, typed("application/json")},
	{"as YAML", []format{asJSON, asProtobuf}, either, typed("application/yaml")},
	{"as protobuf", text, refused, typed("application/vnd.kubernetes.protobuf")},
	{"as CBOR", every, refused, typed("application/cbor")},
	{"as a patch", every, either, typed("application/merge-patch+json")},
	{"as an apply patch", every, either, typed("application/apply-patch+yaml")},
	{"as nonsense", every, refused, typed("nonsense;;=")},
}

var yamlKinds = []kind{
	{"plain scalar", yamls, accepted, func(c *caster) document { return document{raw: c.word()} }},
	{"single-quoted scalar", yamls, accepted,
		func(c *caster) document { return document{raw: "'" + c.word() + " '' " + c.word() + "'"} }},
	{"literal block", yamls, accepted, func(c *caster) document {
		return document{raw: "|\n    " + c.word() +
			"\n    " + c.word()}
	}},
	{"folded block", yamls, accepted, func(c *caster) document {
		return document{raw: ">-\n    " + c.word() +
			"\n    " + c.word()}
	}},
	{"value in a comment", yamls, accepted, func(c *caster) document {
		return document{raw: c.word() + " # " +
			c.word()}
	}},
	{"directive", yamls, either, func(c *caster) document {
		word := c.word()
		return document{raw: c.word(), mangle: func(body string) string { return "%" + word + "\n---\n" + body }}
	}},
}

func nested(depth int, raw string) string {
	return strings.Repeat("[", depth) + raw + strings.Repeat("]", depth)
}

func replace(old, with string) func(string) string {
	return func(body string) string { return strings.Replace(body, old, with, 1) }
}

func typed(contentType string) func(c *caster) document {
	return func(c *caster) document { return document{text: c.word(), contentType: contentType} }
}
