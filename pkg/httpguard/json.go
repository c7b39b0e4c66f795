// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

const (
	// maxDepth is the number of containers a body may nest.
	maxDepth = 100
	// maxMembers bounds an object and a list in a body. What the handlers do before they see that there are more than 500 labels takes
	// seconds for what fits into a megabyte. A patch that takes 500 away and adds 500 is far below.
	maxMembers = 2000
)

// valuePath leads to the value of a SecureValue.
var valuePath = []string{"spec", "value"}

// checkJSON checks an object in JSON, or a merge patch of one.
func checkJSON(body []byte) error {
	if !utf8.Valid(body) {
		return refuse(textNotUTF8)
	}
	s := &jsonScanner{data: body}
	isObject := s.peek() == '{'
	if err := s.document(valuePath); err != nil {
		return err
	}
	if !isObject {
		return refuse(textNotObject)
	}
	return nil
}

// jsonScanner reads one JSON text without building anything from it: one pass, no memory beyond its bounded stack.
// It is strict where encoding/json replaces (lone surrogates) and silent where that one quotes (errors).
//
// The functions that take a path check it: the members it names must be objects or null, its end a string or null, each
// time they occur. A nil path checks nothing, an empty one is the end.
type jsonScanner struct {
	data []byte
	pos  int
}

// document reads the whole text.
func (s *jsonScanner) document(path []string) error {
	if err := s.value(path, 1); err != nil {
		return err
	}
	if s.peek(); s.pos != len(s.data) {
		return s.syntax()
	}
	return nil
}

// peek skips white space and returns the byte behind it, 0 at the end.
func (s *jsonScanner) peek() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// next returns the byte at the position and steps over it, 0 at the end.
func (s *jsonScanner) next() byte {
	if s.pos >= len(s.data) {
		return 0
	}
	s.pos++
	return s.data[s.pos-1]
}

func (s *jsonScanner) syntax() error {
	return refuseAt(textNotJSON, "byte", min(s.pos, len(s.data)))
}

func (s *jsonScanner) value(path []string, depth int) error {
	switch c := s.peek(); {
	case depth > maxDepth && (c == '{' || c == '['):
		return refuse(textTooDeep)
	case c == '{':
		if path != nil && len(path) == 0 {
			return refuseType("spec.value", textMustBeString)
		}
		count := 0
		return s.object(func(key []byte) error {
			if count++; count > maxMembers {
				return refuse(textTooMany)
			}
			if s.peek() == '[' && isKey(key, "managedFields") {
				return s.list(validation.MaxManagers, validation.ErrManagedFields.Error(), depth+1)
			}
			return s.value(step(path, key), depth+1)
		})
	case c == 'n':
		return s.literal("null")
	case c == '"':
		if err := s.str(); err != nil {
			return err
		}
		return notAnObject(path)
	case c == '[', c == 't', c == 'f', c == '-', '0' <= c && c <= '9':
		if err := notAString(path); err != nil {
			return err
		}
		return s.unwatched(c, depth)
	}
	return s.syntax()
}

// unwatched reads what can be neither spec nor spec.value.
func (s *jsonScanner) unwatched(first byte, depth int) error {
	switch first {
	case '[':
		return s.list(maxMembers, textTooMany, depth)
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	}
	return s.number()
}

// list reads a list of at most so many elements.
func (s *jsonScanner) list(limit int, text string, depth int) error {
	count := 0
	return s.array(func() error {
		if count++; count > limit {
			return refuse(text)
		}
		return s.value(nil, depth+1)
	})
}

// notAnObject refuses a string where the path goes on. The whole text is no field: its caller says so better.
func notAnObject(path []string) error {
	if len(path) == 0 || len(path) == len(valuePath) {
		return nil
	}
	return refuseType("spec", textMustBeObject)
}

// notAString refuses what is neither object nor string wherever the path leads.
func notAString(path []string) error {
	if path != nil && len(path) == 0 {
		return refuseType("spec.value", textMustBeString)
	}
	return notAnObject(path)
}

// step is the path behind a member, nil if the path does not lead through it.
func step(path []string, key []byte) []string {
	if len(path) == 0 || !isKey(key, path[0]) {
		return nil
	}
	return path[1:]
}

// isKey compares a key as written, quotes and escapes included, with a name.
func isKey(key []byte, name string) bool {
	if !bytes.ContainsRune(key, '\\') {
		return string(key[1:len(key)-1]) == name
	}
	var decoded string
	return json.Unmarshal(key, &decoded) == nil && decoded == name
}

// object reads an object; member must read the value of each key.
func (s *jsonScanner) object(member func(key []byte) error) error {
	s.pos++
	if s.peek() == '}' {
		s.pos++
		return nil
	}
	for {
		if s.peek() != '"' {
			return s.syntax()
		}
		start := s.pos
		if err := s.str(); err != nil {
			return err
		}
		key := s.data[start:s.pos]
		if s.peek() != ':' {
			return s.syntax()
		}
		s.pos++
		if err := member(key); err != nil {
			return err
		}
		if done, err := s.separator('}'); done || err != nil {
			return err
		}
	}
}

// array reads an array; element must read each element.
func (s *jsonScanner) array(element func() error) error {
	s.pos++
	if s.peek() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		if done, err := s.separator(']'); done || err != nil {
			return err
		}
	}
}

// separator reads a comma or the end of a container.
func (s *jsonScanner) separator(end byte) (done bool, err error) {
	switch s.peek() {
	case ',':
		s.pos++
		return false, nil
	case end:
		s.pos++
		return true, nil
	}
	return false, s.syntax()
}

func (s *jsonScanner) literal(word string) error {
	if string(s.data[s.pos:min(s.pos+len(word), len(s.data))]) != word {
		return s.syntax()
	}
	s.pos += len(word)
	return nil
}
