// SPDX-License-Identifier: Apache-2.0

package client

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"
)

// What can be wrong, for errors.Is.
var (
	// ErrNotFound: there is no such secure value, or it lists no decrypter that the caller may use. The server does not
	// tell these apart.
	ErrNotFound = errors.New("not found")
	// ErrNotAuthorized: the caller has no right to decrypt this name in this namespace.
	ErrNotAuthorized = errors.New("not authorized")
	// ErrDecryptionFailed: the stored value does not open. Trying again does not help; the server's log says why.
	ErrDecryptionFailed = errors.New("decryption failed")
	// ErrUnauthenticated: the server does not accept the token or certificate.
	ErrUnauthenticated = errors.New("unauthenticated")
	// ErrUnavailable: the server, or what it needs, was out of reach as long as was waited.
	ErrUnavailable = errors.New("unavailable")
)

// NameError says what is wrong with one name. Get joins those of all names; errors.As finds the first.
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

// resultError turns the error text of a result into an error. The texts are part of the protocol.
func resultError(text string) error {
	for _, known := range []error{ErrNotFound, ErrNotAuthorized, ErrDecryptionFailed, ErrUnavailable} {
		if text == known.Error() {
			return known
		}
	}
	return fmt.Errorf("%w: the server answers %q", ErrDecryptionFailed, text)
}

// callError adds the sentinel that goes with the code of a failed call.
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
	return fmt.Errorf("%w: %w", sentinel, err)
}
