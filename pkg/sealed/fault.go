// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// The reasons why a value does not open or cannot be sealed. FaultOf finds them in an error. Their texts are constant: what
// a key provider says is for the log.
var (
	// ErrKeyMissing: trying again does not help, the operator has to bring the key back.
	ErrKeyMissing = errors.New("its key is not in the encryption configuration")
	// ErrKeyUnavailable: the same value opens once the KMS answers. It is the only fault that is worth a retry.
	ErrKeyUnavailable = errors.New("the KMS that has its key does not answer")
	// ErrDamaged: no retry and no key helps.
	ErrDamaged = errors.New("it was changed, or its key has another secret than the one of that name in the configuration")
)

// FaultOf returns ErrKeyMissing, ErrKeyUnavailable or ErrDamaged for an error about a stored value, and nil for one that says
// nothing about it. Both ports and all tools decide by it.
func FaultOf(err error) error {
	is := func(target error) bool { return errors.Is(err, target) }
	faults := []error{ErrKeyMissing, ErrKeyUnavailable, ErrDamaged}
	if at := slices.IndexFunc(faults, is); at >= 0 {
		return faults[at]
	}
	if slices.ContainsFunc([]error{ErrBound, ErrNotEncrypted, ErrFrame, ErrNoEnvelope, ErrKeyName, errUndecodable, ErrMisplaced}, is) {
		return ErrDamaged
	}
	return nil
}

// The texts by which upstream says that no configured key has the name in the envelope, that a plugin did not unwrap a data
// key, and that it has never answered. It exports no errors for them; TestOpenFaults fails when they change.
const (
	textNoKey     = "no matching"
	textNotOpened = "failed to decrypt DEK"
	textNoStatus  = "got unexpected nil transformer"
)

// openFault classifies an error of upstream's transformers.
func (s *Sealer) openFault(sealed []byte, err error) error {
	names := s.names()
	key := KeyName(sealed, names)
	known := names == nil || slices.ContainsFunc(names, func(name string) bool { return secret.CoversKey(name, key) })
	switch {
	case key == "" || key == secret.UnreadableKey:
		return ErrDamaged
	case !known || strings.Contains(err.Error(), textNoKey):
		return ErrKeyMissing
	case strings.HasPrefix(key, providerKMS+"/") && mayComeBack(err):
		return ErrKeyUnavailable
	default:
		return ErrDamaged
	}
}

// mayComeBack reports whether an error of upstream's KMS transformer is about the plugin and not about the envelope. A
// plugin that calls the wrapped data key invalid will do so for ever.
func mayComeBack(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	text := err.Error()
	return strings.Contains(text, textNoStatus) || strings.Contains(text, textNotOpened) && status.Code(err) != codes.InvalidArgument
}
