// SPDX-License-Identifier: Apache-2.0

// Package sensitive holds the one type that carries a plaintext value through this program and its clients. It
// redacts itself wherever a value would be formatted or logged; it still marshals, because a typed client has to be
// able to send it. Reading it takes a call to Expose, which is easy to search for.
package sensitive

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"unicode/utf8"
)

// Redacted is what stands for a value in any text.
const Redacted = "[REDACTED]"

// Errors of UnmarshalJSON. The texts are constant: they may reach a client, the audit log and the server log.
var (
	ErrNotString = errors.New("spec.value must be a string")
	ErrNotUTF8   = errors.New("spec.value must be valid UTF-8 without lone surrogate escapes")
)

// Value is a plaintext secret value, at most 24576 bytes of UTF-8 once validated.
type Value string

// New returns a pointer to a Value holding s, as spec.value wants it.
func New(s string) *Value {
	v := Value(s)
	return &v
}

// Expose returns the plaintext. The caller must not log, wrap or store it in clear.
func (v Value) Expose() string { return string(v) }

// Format redacts the value for every verb of package fmt. Two uses are out of its reach: fmt calls no method on an
// unexported field of a struct, so hold a value in an exported one or behind a pointer; and %w wants an error, which a
// value is not (go vet says so).
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
// U+FFFD: a secret is stored as it was written, or not at all.
//
// It returns ErrNotString or ErrNotUTF8, which never quote the input.
func (v *Value) UnmarshalJSON(raw []byte) error {
	if len(raw) < 2 || raw[0] != '"' {
		return ErrNotString
	}
	if !utf8.Valid(raw) || hasLoneSurrogate(raw) {
		return ErrNotUTF8
	}
	if inner := raw[1 : len(raw)-1]; raw[len(raw)-1] == '"' && standsForItself(inner) {
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

// standsForItself reports whether the inner part of a JSON string is what it means (RFC 8259 section 7).
func standsForItself(inner []byte) bool {
	for _, c := range inner {
		if c < ' ' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// hasLoneSurrogate reports whether a JSON string literal escapes half of a surrogate pair (RFC 8259 section 8.2).
func hasLoneSurrogate(raw []byte) bool {
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			continue
		}
		r, ok := escapedUnit(raw[i:])
		switch {
		case !ok:
			i++ // a two-byte escape such as \n or \\
		case r < 0xD800 || r > 0xDFFF:
			i += 5
		case r >= 0xDC00:
			return true
		default:
			low, ok := escapedUnit(raw[i+6:])
			if !ok || low < 0xDC00 || low > 0xDFFF {
				return true
			}
			i += 11
		}
	}
	return false
}

// escapedUnit reads the UTF-16 code unit of a leading \uXXXX.
func escapedUnit(b []byte) (rune, bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	var r rune
	for _, c := range b[2:6] {
		switch {
		case c >= '0' && c <= '9':
			r = r<<4 | rune(c-'0')
		case c >= 'a' && c <= 'f':
			r = r<<4 | rune(c-'a'+10)
		case c >= 'A' && c <= 'F':
			r = r<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	return r, true
}
