// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// RewrapResult is the outcome of a rewrap.
type RewrapResult struct {
	// Key names the key of the value after the rewrap; "" for a deleted object, which has no value.
	Key string
	// WriteKey names the active write key.
	WriteKey string
	// Rewrapped is false if the value was under the write key already, the object is deleted, or on a dry run.
	Rewrapped bool
}

// errUnchanged ends a compare-and-swap without a write.
var errUnchanged = errors.New("unchanged")

// Rewrap opens the value of one object and re-seals it under the active write key, in one compare-and-swap. Nothing
// else of the record changes, and a value that is under that key already is not written. A dry run opens what a rewrap
// would open, and seals nothing. Of a deleted object, a ciphertext that is left is dropped. Rewrap returns an
// *OperationError if the value cannot be opened or sealed, and the errors of storage.Interface; WriteKey is set with an
// error too, if known and not retired: nothing may be moved to a retired key, of which a dry run reports what
// Sealer.RetiredFault knows.
func (s *Store) Rewrap(ctx context.Context, key string, preconditions *storage.Preconditions,
	dryRun bool) (RewrapResult, error) {
	var result RewrapResult
	ctx, w := newWrite(ctx)
	update := func(input runtime.Object, _ storage.ResponseMeta) (runtime.Object, *uint64, error) {
		stored := input.(*secret.SecureValue)
		err := checkPlaced(stored)
		if err != nil {
			return nil, nil, err
		}
		result.Rewrapped, w.declared = false, false // a previous attempt may have lost its race
		if result.WriteKey, err = s.sealer.WriteKey(); err != nil {
			return nil, nil, operationError(Sealing, stored, err)
		}
		if retired := s.sealer.RetiredFault(); dryRun && retired != nil {
			return nil, nil, operationError(Sealing, stored, retired)
		}
		result.Key = s.sealer.keyName(stored.Sealed)
		deleted := stored.DeletionTimestamp != nil
		switch {
		case deleted && (dryRun || len(stored.Sealed) == 0), !deleted && result.Key == result.WriteKey:
			return nil, nil, errUnchanged
		case dryRun:
			if _, err = s.sealer.Open(ctx, stored); err == nil {
				err = errUnchanged
			}
			return nil, nil, err
		case deleted:
			result.Key = ""
			w.carried()
			return withSealed(stored, nil), nil, nil
		}
		sealed, err := s.reseal(ctx, w, stored, stored)
		if err != nil {
			return nil, nil, err
		}
		result.Key = s.sealer.keyName(sealed)
		result.WriteKey, result.Rewrapped = result.Key, true // the write key may have changed since
		return withSealed(stored, sealed), nil, nil
	}
	err := s.raw.GuaranteedUpdate(ctx, key, &secret.SecureValue{}, false, preconditions, update, nil)
	if errors.Is(err, errUnchanged) {
		return result, nil
	}
	if err = s.writeError(key, err); errors.Is(err, ErrKeyRetired) {
		return RewrapResult{}, err
	}
	if err != nil {
		return RewrapResult{WriteKey: result.WriteKey}, err
	}
	return result, nil
}

// CheckOpens opens the value of one object and drops it, for the dry run of an update that would re-seal it.
func (s *Store) CheckOpens(ctx context.Context, key string) error {
	stored := &secret.SecureValue{}
	err := s.raw.Get(ctx, key, storage.GetOptions{}, stored)
	if err == nil {
		err = checkPlaced(stored)
	}
	if err == nil && stored.DeletionTimestamp == nil {
		_, err = s.sealer.Open(ctx, stored)
		if retired := s.sealer.RetiredFault(); err == nil && retired != nil {
			err = operationError(Sealing, stored, retired)
		}
	}
	return readError(key, err)
}
