// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

const (
	// maxDepth is the number of containers a body may nest.
	maxDepth = 100
	// maxMembers bounds an object and a list in a body. What the handlers do before they see that there are more than
	// 500 labels takes seconds for what fits into a megabyte. A patch that removes 500 and adds 500 is far below.
	maxMembers = 2000
)

// valuePath leads to the value of a SecureValue.
var valuePath = []string{"spec", "value"}

// checkJSON checks an object in JSON, or a merge patch of one.
func checkJSON(body []byte) error {
	return checkDocument(body, func(r *jsonReader, first byte) error {
		if err := r.value(first, valuePath, 1); err != nil || first == '{' {
			return err
		}
		return refuse(textNotObject)
	})
}

// checkJSONPatch checks a JSON patch (RFC 6902). The number of operations is limited by the handler.
func checkJSONPatch(body []byte) error {
	return checkDocument(body, func(r *jsonReader, first byte) error {
		if first != '[' {
			if err := r.value(first, nil, 1); err != nil {
				return err
			}
			return refuse(textNotPatch)
		}
		return r.container(']', func(kind byte) error {
			if kind != '{' {
				return refuse(textNotPatch)
			}
			return r.operation()
		})
	})
}

func checkDocument(body []byte, read func(r *jsonReader, first byte) error) error {
	if !utf8.Valid(body) {
		return refuse(textNotUTF8)
	}
	r := &jsonReader{text: body}
	if err := read(r, r.next()); err != nil {
		return err
	}
	if r.next(); r.start != len(body) {
		return r.syntax()
	}
	return nil
}

// jsonReader reads a JSON text without building anything from it. Unlike encoding/json it refuses lone surrogates
// instead of replacing them, and its errors quote nothing.
//
// The methods that take a path check it: the members it names must be objects or null, its end a string or null, each
// time they occur. A nil path checks nothing, an empty one is the end.
type jsonReader struct {
	text       []byte
	start, pos int // of the current token
	surrogate  error
}

// next reads one token. It returns its first byte, or 0 at the end and for an invalid string. Numbers and words are
// checked by value.
func (r *jsonReader) next() byte {
	for r.pos < len(r.text) && strings.IndexByte(" \t\r\n", r.text[r.pos]) >= 0 {
		r.pos++
	}
	if r.start = r.pos; r.pos == len(r.text) {
		return 0
	}
	kind := r.text[r.pos]
	switch kind {
	case '{', '}', '[', ']', ',', ':':
		r.pos++
	case '"':
		if !r.str() {
			return 0
		}
	default:
		for r.pos < len(r.text) && strings.IndexByte(" \t\r\n,:]}", r.text[r.pos]) < 0 {
			r.pos++
		}
	}
	return kind
}

// str reads a string. Only one with escapes is left to encoding/json, which is slow.
func (r *jsonReader) str() bool {
	for r.pos++; ; r.pos++ {
		end := bytes.IndexByte(r.text[r.pos:], '"')
		if end < 0 {
			return false
		}
		r.pos += end
		if escapes := r.pos - len(bytes.TrimRight(r.text[:r.pos], `\`)); escapes%2 == 0 {
			break
		}
	}
	inner := r.text[r.start+1 : r.pos]
	r.pos++
	if sensitive.StandsForItself(inner) {
		return true
	}
	if !json.Valid(r.text[r.start:r.pos]) {
		return false
	}
	if at := sensitive.LoneSurrogate(inner); at >= 0 {
		r.surrogate = refuseAt(textSurrogate, "byte", r.start+1+at)
	}
	return r.surrogate == nil
}

// syntax returns why the current token cannot be read, or is out of place.
func (r *jsonReader) syntax() error {
	if r.surrogate != nil {
		return r.surrogate
	}
	return refuseAt(textNotJSON, "byte", r.start)
}

// value reads the value that begins with the current token.
func (r *jsonReader) value(kind byte, path []string, depth int) error {
	switch {
	case strings.IndexByte(`{["tfn-0123456789`, kind) < 0:
		return r.syntax()
	case depth > maxDepth && (kind == '{' || kind == '['):
		return refuse(textTooDeep)
	case string(r.text[r.start:r.pos]) == "null":
		return nil
	case path != nil && len(path) == 0 && kind != '"':
		return refuseType("spec.value", textMustBeString)
	case len(path) == len(valuePath)-1 && kind != '{':
		return refuseType("spec", textMustBeObject)
	case kind == '{':
		return r.members(path, depth)
	case kind == '[':
		return r.elements(maxMembers, textTooMany, depth)
	case kind != '"' && !json.Valid(r.text[r.start:r.pos]):
		return r.syntax()
	}
	return nil
}

func (r *jsonReader) members(path []string, depth int) error {
	count := 0
	return r.object(func(key []byte, kind byte) error {
		if count++; count > maxMembers {
			return refuse(textTooMany)
		}
		if kind == '[' && isKey(key, "managedFields") {
			return r.elements(validation.MaxManagers, validation.ErrManagedFields.Error(), depth+1)
		}
		if len(path) == 0 || !isKey(key, path[0]) {
			return r.value(kind, nil, depth+1)
		}
		return r.value(kind, path[1:], depth+1)
	})
}

func (r *jsonReader) elements(limit int, text string, depth int) error {
	count := 0
	return r.container(']', func(kind byte) error {
		if count++; count > limit {
			return refuse(text)
		}
		return r.value(kind, nil, depth+1)
	})
}

// object reads an object; member must read the value of each key, which begins with a token of that kind.
func (r *jsonReader) object(member func(key []byte, kind byte) error) error {
	return r.container('}', func(kind byte) error {
		key := r.text[r.start:r.pos]
		if kind != '"' || r.next() != ':' {
			return r.syntax()
		}
		return member(key, r.next())
	})
}

// container reads up to its end; element must read what stands between two commas.
func (r *jsonReader) container(end byte, element func(kind byte) error) error {
	kind := r.next()
	if kind == end {
		return nil
	}
	for {
		if err := element(kind); err != nil {
			return err
		}
		switch r.next() {
		case end:
			return nil
		case ',':
			kind = r.next()
		default:
			return r.syntax()
		}
	}
}

// operation reads one operation of a patch. Its members come in any order and, with duplicates, more than once: every
// value is checked for every path.
func (r *jsonReader) operation() error {
	var values [][]byte
	var targets [2][]string
	err := r.object(func(key []byte, kind byte) error {
		start := r.start
		if err := r.value(kind, nil, 3); err != nil {
			return err
		}
		switch member := r.text[start:r.pos]; {
		case isKey(key, "value"):
			values = append(values, member)
		case isKey(key, "path"):
			if path := pointerTarget(member); path != nil {
				targets[len(path)] = path
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, path := range targets {
		for i := 0; path != nil && i < len(values); i++ {
			value := &jsonReader{text: values[i]}
			if err := value.value(value.next(), path, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// isKey compares a key as written, with its quotes and escapes, with a name.
func isKey(key []byte, name string) bool {
	if !bytes.ContainsRune(key, '\\') {
		return string(key[1:len(key)-1]) == name
	}
	var decoded string
	return json.Unmarshal(key, &decoded) == nil && decoded == name
}

// pointerTarget is the path from what a JSON pointer names to spec.value, nil if it leads elsewhere. The text before
// the first slash is cut, since the library that applies the patch ignores it.
func pointerTarget(member []byte) []string {
	var pointer string
	if json.Unmarshal(member, &pointer) != nil {
		return nil
	}
	_, rest, _ := strings.Cut(pointer, "/")
	switch rest {
	case "spec":
		return valuePath[1:]
	case "spec/value":
		return valuePath[2:]
	}
	return nil
}
