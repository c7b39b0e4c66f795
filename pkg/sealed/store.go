// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

var (
	// ErrNoValue says that an object without a stored value was about to be written without one. Validation refuses such
	// a request before; the store refuses it again, so that only records of deleted objects have no ciphertext.
	ErrNoValue = errors.New("a new object needs a value")
	// ErrDeleted says that an object is deleted and waits for its finalizers: it has no value and takes no new one.
	ErrDeleted = errors.New("the object is deleted and waits for its finalizers")
)

// Store seals on the way to etcd and strips on the way back. It writes out every method of storage.Interface instead
// of embedding it: a read method that a later library adds must fail to compile here, not leak.
type Store struct {
	raw    storage.Interface
	codec  runtime.Codec
	sealer *Sealer
}

var _ storage.Interface = (*Store)(nil)

// New returns a Store over an etcd3 store that uses codec, a Codec.
func New(raw storage.Interface, codec runtime.Codec, sealer *Sealer) *Store {
	return &Store{raw: raw, codec: codec, sealer: sealer}
}

// Create seals the value of obj and stores both. obj is not changed. It returns an *OperationError when the value
// cannot be sealed.
func (s *Store) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	sealed, err := s.sealNew(ctx, obj.(*secret.SecureValue))
	if err != nil {
		return err
	}
	err = s.raw.Create(ctx, key, sealed, out, ttl)
	strip(out)
	return err
}

// GuaranteedUpdate carries the stored ciphertext, or seals a new value, inside the compare-and-swap. An update that brings a value
// starts from what the watch cache suggests and reads nothing; one that does not reads the record.
func (s *Store) GuaranteedUpdate(
	ctx context.Context, key string, destination runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, tryUpdate storage.UpdateFunc, suggestion runtime.Object,
) error {
	if !takesSuggestion(ctx) {
		suggestion = nil
	}
	update := func(input runtime.Object, meta storage.ResponseMeta) (runtime.Object, *uint64, error) {
		existing := input.(*secret.SecureValue)
		if err := checkPlaced(existing); err != nil {
			return nil, nil, err
		}
		stored := *existing // holds the ciphertext and what it is bound to, whatever tryUpdate does to its input
		stored.Spec.Decrypters = append([]string(nil), existing.Spec.Decrypters...)
		existing.Sealed = nil

		out, ttl, err := tryUpdate(existing, meta)
		if err != nil {
			return nil, nil, err
		}
		updated := out.(*secret.SecureValue)
		var sealed *secret.SecureValue
		if suggestion != nil && len(stored.Sealed) == 0 && updated.Spec.Value == nil {
			sealed, err = s.carry(ctx, key, stored.ResourceVersion, updated)
		} else {
			sealed, err = s.sealUpdate(ctx, &stored, updated)
		}
		return sealed, ttl, err
	}
	err := s.raw.GuaranteedUpdate(ctx, key, destination, ignoreNotFound, preconditions, update, suggestion)
	if same := (*unchanged)(nil); errors.As(err, &same) {
		*destination.(*secret.SecureValue), err = *same.record, nil
	}
	strip(destination)
	return readError(key, err)
}

// sealNew returns what to store for an object that brings its value.
func (s *Store) sealNew(ctx context.Context, obj *secret.SecureValue) (*secret.SecureValue, error) {
	if obj.Spec.Value == nil {
		return nil, fmt.Errorf("storing %s/%s: %w", obj.Namespace, obj.Name, ErrNoValue)
	}
	sealed, err := s.sealer.Seal(ctx, obj, *obj.Spec.Value)
	if err != nil {
		return nil, err
	}
	return withSealed(obj, sealed), nil
}

// sealUpdate returns what to store for an updated object: a new value sealed, the stored ciphertext carried, or, when
// what it is bound to changed, the stored value sealed anew. A deleted object is stored without its ciphertext: the write
// that sets deletionTimestamp drops it, and so does the next write of a record that an older version of this program left.
func (s *Store) sealUpdate(ctx context.Context, stored, updated *secret.SecureValue) (*secret.SecureValue, error) {
	if updated.DeletionTimestamp != nil {
		if updated.Spec.Value != nil {
			return nil, fmt.Errorf("storing %s/%s: %w", updated.Namespace, updated.Name, ErrDeleted)
		}
		return withSealed(updated, nil), nil
	}
	if updated.Spec.Value != nil || len(stored.Sealed) == 0 {
		return s.sealNew(ctx, updated)
	}
	if bytes.Equal(AAD(stored), AAD(updated)) {
		return withSealed(updated, stored.Sealed), nil
	}
	sealed, err := s.reseal(ctx, stored, updated)
	if err != nil {
		return nil, err
	}
	return withSealed(updated, sealed), nil
}

// Delete removes object and ciphertext, which are one etcd key.
func (s *Store) Delete(
	ctx context.Context, key string, out runtime.Object, preconditions *storage.Preconditions,
	validateDeletion storage.ValidateObjectFunc, cachedExistingObject runtime.Object, opts storage.DeleteOptions,
) error {
	validate := func(ctx context.Context, obj runtime.Object) error {
		strip(obj)
		return validateDeletion(ctx, obj)
	}
	err := s.raw.Delete(ctx, key, out, preconditions, validate, cachedExistingObject, opts)
	strip(out)
	keepKeyName(out, cachedExistingObject)
	return readError(key, err)
}

// Get reads one object without its ciphertext. It returns an *OperationError for a damaged record.
func (s *Store) Get(ctx context.Context, key string, opts storage.GetOptions, objPtr runtime.Object) error {
	err := s.raw.Get(ctx, key, opts, objPtr)
	sv := objPtr.(*secret.SecureValue)
	if err == nil && !deletes(ctx) {
		err = checkPlaced(sv)
	}
	sv.Sealed = nil
	return readError(key, err)
}

// GetList reads objects without their ciphertexts, and leaves out misplaced records, so that a page may be shorter than its limit. A
// list that failed halfway holds what was read until then.
func (s *Store) GetList(ctx context.Context, key string, opts storage.ListOptions, listObj runtime.Object) error {
	err := s.raw.GetList(ctx, key, opts, listObj)
	list := listObj.(*secret.SecureValueList)
	deleting, misplaced := deletes(ctx), false
	for i := range list.Items {
		if !deleting && isMisplaced(&list.Items[i]) {
			logMisplaced(&list.Items[i])
			misplaced = true
			continue
		}
		list.Items[i].Sealed = nil
	}
	if misplaced {
		list.Items = slices.DeleteFunc(list.Items, func(sv secret.SecureValue) bool { return isMisplaced(&sv) })
	}
	return listError(err)
}

// Watch streams objects without their ciphertexts.
func (s *Store) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	ctx, cancel := context.WithCancel(ctx)
	w, err := s.raw.Watch(ctx, key, opts)
	if err != nil {
		cancel()
		return nil, err
	}
	return newStrippedWatch(ctx, cancel, w), nil
}

// Versioner implements storage.Interface.
func (s *Store) Versioner() storage.Versioner { return s.raw.Versioner() }

// Stats implements storage.Interface.
func (s *Store) Stats(ctx context.Context) (storage.Stats, error) { return s.raw.Stats(ctx) }

// ReadinessCheck implements storage.Interface.
func (s *Store) ReadinessCheck() error { return s.raw.ReadinessCheck() }

// RequestWatchProgress implements storage.Interface.
func (s *Store) RequestWatchProgress(ctx context.Context) error {
	return s.raw.RequestWatchProgress(ctx)
}

// GetCurrentResourceVersion implements storage.Interface.
func (s *Store) GetCurrentResourceVersion(ctx context.Context) (uint64, error) {
	return s.raw.GetCurrentResourceVersion(ctx)
}

// EnableResourceSizeEstimation implements storage.Interface.
func (s *Store) EnableResourceSizeEstimation(keys storage.KeysFunc) error {
	return s.raw.EnableResourceSizeEstimation(keys)
}

// CompactRevision implements storage.Interface.
func (s *Store) CompactRevision() int64 { return s.raw.CompactRevision() }
