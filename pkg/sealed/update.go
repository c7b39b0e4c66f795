// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// GuaranteedUpdate keeps the stored ciphertext, or seals a new value, in the compare-and-swap. A PUT with a value
// starts from the object in the watch cache and reads nothing; other writes read the record.
func (s *Store) GuaranteedUpdate(
	ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, suggestion runtime.Object,
) error {
	if !takesSuggestion(ctx) {
		suggestion = nil
	}
	ctx, w := newWrite(ctx)
	update := func(input runtime.Object, meta storage.ResponseMeta) (runtime.Object, *uint64, error) {
		w.declared = false // a previous attempt may have lost its race
		existing := input.(*secret.SecureValue)
		if err := checkPlaced(existing); err != nil {
			return nil, nil, err
		}
		stored := *existing // the ciphertext and what it is bound to, whatever tryUpdate does to its input
		stored.Spec.Decrypters = append([]string(nil), existing.Spec.Decrypters...)
		existing.Sealed = nil

		out, ttl, err := tryUpdate(existing, meta)
		if err != nil {
			return nil, nil, err
		}
		updated := out.(*secret.SecureValue)
		var sealed *secret.SecureValue
		if suggestion != nil && len(stored.Sealed) == 0 && updated.Spec.Value == nil {
			sealed, err = s.keepSealed(ctx, w, key, stored.ResourceVersion, updated)
		} else {
			sealed, err = s.sealUpdate(ctx, w, &stored, updated)
		}
		return sealed, ttl, err
	}
	err := s.raw.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, update, suggestion)
	if same := (*unchanged)(nil); errors.As(err, &same) {
		*destination.(*secret.SecureValue), err = *same.record, nil
	}
	strip(destination)
	return s.writeError(key, err)
}

// sealNew returns what to store for an object with a new value.
func (s *Store) sealNew(ctx context.Context, w *write, obj *secret.SecureValue) (*secret.SecureValue, error) {
	if obj.Spec.Value == nil {
		return nil, fmt.Errorf("storing %s/%s: %w", obj.Namespace, obj.Name, ErrNoValue)
	}
	sealed, err := s.seal(ctx, w, obj, *obj.Spec.Value)
	if err != nil {
		return nil, err
	}
	return withSealed(obj, sealed), nil
}

// sealUpdate returns what to store for an updated object: with a new value sealed, with the stored ciphertext, or, if
// what it is bound to changed, with the stored value re-sealed. A deleted object is stored without ciphertext: the
// write that sets deletionTimestamp drops it, and so does the next write of a record of an older version of this
// program.
func (s *Store) sealUpdate(ctx context.Context, w *write, stored, updated *secret.SecureValue) (*secret.SecureValue,
	error) {
	if updated.DeletionTimestamp != nil {
		if updated.Spec.Value != nil {
			return nil, fmt.Errorf("storing %s/%s: %w", updated.Namespace, updated.Name, ErrDeleted)
		}
		w.carried()
		return withSealed(updated, nil), nil
	}
	if updated.Spec.Value != nil || len(stored.Sealed) == 0 {
		return s.sealNew(ctx, w, updated)
	}
	if bytes.Equal(AAD(stored), AAD(updated)) {
		w.carried()
		return withSealed(updated, stored.Sealed), nil
	}
	sealed, err := s.reseal(ctx, w, stored, updated)
	if err != nil {
		return nil, err
	}
	return withSealed(updated, sealed), nil
}

// reseal opens the value of stored and seals it for updated.
func (s *Store) reseal(ctx context.Context, w *write, stored, updated *secret.SecureValue) ([]byte, error) {
	v, err := s.sealer.Open(ctx, stored)
	if err != nil {
		return nil, err
	}
	return s.seal(ctx, w, updated, v)
}

// seal seals a value and declares its key. A write key has a name that needs no configuration to be read.
func (s *Store) seal(ctx context.Context, w *write, obj *secret.SecureValue, v sensitive.Value) ([]byte, error) {
	sealed, err := s.sealer.Seal(ctx, obj, v)
	if err != nil {
		return nil, err
	}
	key := KeyName(sealed, nil)
	if key == "" || key == secret.UnreadableKey {
		return nil, operationError(Sealing, obj, ErrKeyName)
	}
	w.sealed(key)
	return sealed, nil
}

// withSealed returns a shallow copy of obj with the ciphertext in place of the value.
func withSealed(obj *secret.SecureValue, sealed []byte) *secret.SecureValue {
	stored := *obj
	stored.Spec.Value = nil
	stored.Sealed = sealed
	return &stored
}

// takesSuggestion reports whether a write should start from the object in the watch cache. The cache has no ciphertext,
// so this pays off for a PUT, which usually has a value; a patch would have to read the record anyway.
func takesSuggestion(ctx context.Context) bool {
	info, ok := request.RequestInfoFrom(ctx)
	return ok && info.Verb == "update"
}

// errSuperseded reports that a suggestion is older than the record. The etcd3 store then reads the record and tries
// again.
var errSuperseded = errors.New("the watch cache is older than the record")

// unchanged ends a write that starts from a suggestion and changes nothing. The etcd3 store compares with the
// suggestion, cannot see that, and would write the record again.
type unchanged struct{ record *secret.SecureValue }

// Error implements error.
func (*unchanged) Error() string { return "nothing to write" }

// keepSealed returns what to store for a write that starts from a suggestion and needs the ciphertext of the record. It
// returns errSuperseded if the record is newer than the suggestion, and *unchanged if there is nothing to write.
func (s *Store) keepSealed(ctx context.Context, w *write, key, suggested string,
	updated *secret.SecureValue) (*secret.SecureValue, error) {
	record := &secret.SecureValue{}
	if err := s.raw.Get(ctx, key, storage.GetOptions{}, record); err != nil {
		return nil, err
	}
	if record.ResourceVersion != suggested {
		return nil, errSuperseded
	}
	sealed, err := s.sealUpdate(ctx, w, record, updated)
	if err != nil {
		return nil, err
	}
	before, err := s.encode(record)
	if err != nil {
		return nil, err
	}
	after, err := s.encode(sealed)
	if err != nil {
		return nil, err
	}
	if bytes.Equal(before, after) {
		return nil, &unchanged{record}
	}
	return sealed, nil
}

// encode returns the bytes of an object as the etcd3 store writes them.
func (s *Store) encode(obj *secret.SecureValue) ([]byte, error) {
	stored := *obj
	if err := s.raw.Versioner().PrepareObjectForStorage(&stored); err != nil {
		return nil, err
	}
	return runtime.Encode(s.codec, &stored)
}
