// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// checkJSONPatch checks a JSON patch (RFC 6902). The number of operations is limited by the handler.
func checkJSONPatch(body []byte) error {
	if !utf8.Valid(body) {
		return refuse(textNotUTF8)
	}
	s := &jsonScanner{data: body}
	if s.peek() != '[' {
		if err := s.document(nil); err != nil {
			return err
		}
		return refuse(textNotPatch)
	}
	if err := s.array(s.operation); err != nil {
		return err
	}
	if s.peek(); s.pos != len(s.data) {
		return s.syntax()
	}
	return nil
}

// operation reads one operation. Its members come in any order and, with duplicates, more than once: every value is held
// against every path.
func (s *jsonScanner) operation() error {
	if s.peek() != '{' {
		return refuse(textNotPatch)
	}
	var values [][]byte
	var targets [2][]string
	err := s.object(func(key []byte) error {
		s.peek()
		start := s.pos
		if err := s.value(nil, 3); err != nil {
			return err
		}
		member := s.data[start:s.pos]
		switch {
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
			if err := (&jsonScanner{data: values[i]}).document(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// pointerTarget is the path from what a JSON pointer names to spec.value, nil if that does not lie in it. Whatever
// stands before the first slash is cut, since the library that applies the patch ignores it.
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
