// SPDX-License-Identifier: Apache-2.0

// Package sensitive has the only type for a plaintext value in this program and its clients. It redacts itself when
// formatted or logged; it still marshals, because a typed client has to send it. Reading it requires a call to Expose,
// which is easy to search for.
package sensitive

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Redacted replaces a value in any text.
const Redacted = "[REDACTED]"

// Errors of UnmarshalJSON. The texts are constant: they may reach a client, the audit log and the server log.
var (
	ErrNotString = errors.New("spec.value must be a string")
	ErrNotUTF8   = errors.New("spec.value must be valid UTF-8 without lone surrogate escapes")
)

// Value is a plaintext secret value, at most 24576 bytes of UTF-8 once validated.
type Value string

// New returns a pointer to a Value, the type of spec.value.
func New(s string) *Value {
	v := Value(s)
	return &v
}

// Expose returns the plaintext. The caller must not log, wrap or store it in clear.
func (v Value) Expose() string { return string(v) }

// Format redacts the value for every verb of package fmt, except in an unexported struct field, on which fmt calls no
// methods: use an exported field or a pointer. go vet refuses %w.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, Redacted) }

// String redacts the value.
func (v Value) String() string { return Redacted }

// GoString redacts the value for %#v.
func (v Value) GoString() string { return Redacted }

// LogValue redacts the value for log/slog.
func (v Value) LogValue() slog.Value { return slog.StringValue(Redacted) }

// MarshalLog redacts the value for logr and klog.
func (v Value) MarshalLog() any { return Redacted }

// UnmarshalJSON accepts a JSON string that is valid UTF-8. It refuses what encoding/json would silently replace by
// U+FFFD. It returns ErrNotString or ErrNotUTF8, which never quote the input.
func (v *Value) UnmarshalJSON(raw []byte) error {
	if len(raw) < 2 || raw[0] != '"' {
		return ErrNotString
	}
	if !utf8.Valid(raw) || LoneSurrogate(raw) >= 0 {
		return ErrNotUTF8
	}
	if inner := raw[1 : len(raw)-1]; raw[len(raw)-1] == '"' && StandsForItself(inner) {
		*v = Value(inner)
		return nil
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return ErrNotString
	}
	*v = Value(s)
	return nil
}

// StandsForItself reports whether the inner part of a JSON string has neither escapes nor what must be escaped (RFC
// 8259 section 7), so that it needs no decoding.
func StandsForItself(inner []byte) bool {
	for _, c := range inner {
		if c < ' ' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// LoneSurrogate returns where a JSON text escapes half of a surrogate pair (RFC 8259 section 8.2), or -1.
func LoneSurrogate(text []byte) int {
	for i := 0; ; {
		at := bytes.IndexByte(text[i:], '\\')
		if at < 0 {
			return -1
		}
		i += at
		first, ok := escapedUnit(text[i:])
		switch {
		case !ok:
			i = min(i+2, len(text)) // such as \n or \\
		case !utf16.IsSurrogate(first):
			i += 6
		default:
			second, _ := escapedUnit(text[i+6:])
			if utf16.DecodeRune(first, second) == unicode.ReplacementChar {
				return i
			}
			i += 12
		}
	}
}

// escapedUnit reads the UTF-16 code unit of a leading \uXXXX.
func escapedUnit(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	return rune(unit), err == nil
}
