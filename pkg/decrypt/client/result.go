// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// Value is a decrypted value. Only Expose returns it: fmt, log/slog, klog and encoding/json get "[REDACTED]", also
// where it is a field of another type, and reflection finds a function.
type Value struct {
	reveal  func() string
	version int64
	uid     string
}

func newValue(plaintext string, version int64) Value {
	return Value{reveal: func() string { return plaintext }, version: version}
}

// Version is status.version of the secure value; 0 from a server that does not send it. The larger one is the newer,
// unless the secure value was deleted and created again in between.
func (v Value) Version() int64 { return v.version }

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

// Errors of Get, for errors.Is.
var (
	// ErrNotFound: the secure value does not exist, or it lists no decrypter that the caller may use. The server does
	// not distinguish these.
	ErrNotFound = errors.New("not found")
	// ErrNotAuthorized: the caller is not allowed to decrypt this name in this namespace.
	ErrNotAuthorized = errors.New("not authorized")
	// ErrDecryptionFailed: the stored value does not open. Retrying does not help; the server's log has the reason.
	ErrDecryptionFailed = errors.New("decryption failed")
	// ErrUnauthenticated: the server does not accept the token or certificate.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrUnavailable: the server, or what it needs, was unavailable until the timeout.
	ErrUnavailable = errors.New("unavailable")
)

var kinds = []error{ErrNotFound, ErrNotAuthorized, ErrDecryptionFailed, ErrUnauthenticated, ErrUnavailable}

// kind returns which of the errors above err is, or err.
func kind(err error) error {
	if i := slices.IndexFunc(kinds, func(known error) bool { return errors.Is(err, known) }); i >= 0 {
		return kinds[i]
	}
	return err
}

// NameError is the error of one name. Get joins those of all names; errors.As finds the first.
type NameError struct {
	Namespace, Name string
	// Err is one of the errors above.
	Err error
}

// Error implements error.
func (e *NameError) Error() string {
	return fmt.Sprintf("secure value %s/%s: %v", e.Namespace, e.Name, e.Err)
}

// Unwrap lets errors.Is see Err.
func (e *NameError) Unwrap() error { return e.Err }

// resultError returns the error for the text of a result. The texts are part of the protocol.
func resultError(text string) error {
	for _, known := range kinds {
		if text == known.Error() {
			return known
		}
	}
	return fmt.Errorf("%w: the server answers %q", ErrDecryptionFailed, text)
}

// callError adds the sentinel for the code of a failed call.
func callError(err error) error {
	var sentinel error
	switch connect.CodeOf(err) {
	case connect.CodeUnauthenticated:
		sentinel = ErrUnauthenticated
	case connect.CodePermissionDenied:
		sentinel = ErrNotAuthorized
	case connect.CodeUnavailable, connect.CodeResourceExhausted, connect.CodeDeadlineExceeded:
		sentinel = ErrUnavailable
	default:
		return err
	}
	return &callFailure{sentinel, err}
}

// callFailure is an error of a call and its sentinel. Where both have the same word, as for a code of connect, it is
// printed once.
type callFailure struct{ sentinel, err error }

// Error implements error.
func (e *callFailure) Error() string {
	prefix := e.sentinel.Error() + ": "
	return prefix + strings.TrimPrefix(e.err.Error(), prefix)
}

// Unwrap lets errors.Is and errors.As see both.
func (e *callFailure) Unwrap() []error { return []error{e.sentinel, e.err} }
