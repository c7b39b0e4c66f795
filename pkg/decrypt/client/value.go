// SPDX-License-Identifier: Apache-2.0

package client

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// Value is a decrypted value. It shows itself to nobody but Expose: fmt, log/slog, klog and encoding/json get
// "[REDACTED]", also where it is a field of another type, and reflection finds a function.
type Value struct {
	reveal func() string
}

func newValue(plaintext string) Value { return Value{reveal: func() string { return plaintext }} }

// Expose returns the plaintext. Do not log or wrap it. The zero Value has none.
func (v Value) Expose() string {
	if v.reveal == nil {
		return ""
	}
	return v.reveal()
}

// String redacts the value.
func (v Value) String() string { return sensitive.Redacted }

// GoString redacts the value for %#v.
func (v Value) GoString() string { return sensitive.Redacted }

// Format redacts the value for every verb of package fmt.
func (v Value) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, sensitive.Redacted) }

// LogValue redacts the value for log/slog.
func (v Value) LogValue() slog.Value { return slog.StringValue(sensitive.Redacted) }

// MarshalLog redacts the value for logr and klog.
func (v Value) MarshalLog() any { return sensitive.Redacted }

// MarshalText redacts the value for encoding/json and the like. Unlike the value of a typed client this one only ever
// comes from the server, so nothing is lost.
func (v Value) MarshalText() ([]byte, error) { return []byte(sensitive.Redacted), nil }
