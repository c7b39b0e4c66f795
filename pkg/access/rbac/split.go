// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
)

// document is one YAML or JSON document of a file.
type document struct {
	// number counts from 1; line is where the document begins.
	number, line int
	data         []byte
}

var (
	errNotUTF8   = errors.New("is not UTF-8 text; save it as UTF-8")
	errLineBreak = errors.New("holds a byte order mark in its midst or line breaks other than LF and CRLF, behind which a document could hide; remove them")
	errAfterEnd  = errors.New("holds text behind the document end marker `...`; begin the next document with a line `---`")
)

// split cuts a YAML stream into documents. The YAML library reads the first document of what it is given and is silent
// about the rest, so every form of separator must be seen here: `---` with a comment behind it, and `...` too.
func split(data []byte) ([]document, error) {
	if !utf8.Valid(data) {
		return nil, errNotUTF8
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if oddBreak(data) {
		return nil, errLineBreak
	}
	var docs []document
	current := document{number: 1, line: 1}
	line := 0
	for text := range bytes.Lines(data) {
		line++
		ends := marker(text, "...")
		if ends && !blank(text[len("..."):]) {
			return nil, errAfterEnd
		}
		if (ends || marker(text, "---")) && !blank(current.data) {
			docs = append(docs, current)
			current = document{number: current.number + 1, line: line}
		}
		if !ends {
			current.data = append(current.data, text...)
		}
	}
	return append(docs, current), nil
}

// marker reports whether a line is a document marker: alone, or followed by white space.
func marker(line []byte, mark string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(mark))
	return ok && (len(rest) == 0 || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}

// oddBreak reports whether text holds something that YAML takes for a line break and split does not.
func oddBreak(data []byte) bool {
	withoutCRLF := bytes.ReplaceAll(data, []byte("\r\n"), nil)
	return bytes.ContainsAny(withoutCRLF, "\r\u0085\u2028\u2029\ufeff")
}

// blank reports whether a document holds nothing but comments.
func blank(data []byte) bool {
	for line := range bytes.Lines(data) {
		text := bytes.TrimSpace(line)
		if len(text) > 0 && text[0] != '#' {
			return false
		}
	}
	return true
}
