// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

var (
	// ErrNoValue is returned for an object that has neither a value nor a stored one. Validation refuses it earlier;
	// the store does too, so that only records of deleted objects have no ciphertext.
	ErrNoValue = errors.New("a new object needs a value")
	// ErrDeleted is returned for an object that is deleted and waits for its finalizers: it has no value and accepts
	// none.
	ErrDeleted = errors.New("the object is deleted and waits for its finalizers")
)

// Store seals on the way to etcd and strips on the way back. It implements every method of storage.Interface instead of
// embedding it: a read method that a later version of the library adds must fail to compile, not leak.
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

// Create seals the value of obj and stores both. obj is not changed. It returns an *OperationError if the value cannot
// be sealed, or its key is retired.
func (s *Store) Create(ctx context.Context, key string, obj, out runtime.Object, ttl uint64) error {
	ctx, w := newWrite(ctx)
	sealed, err := s.sealNew(ctx, w, obj.(*secret.SecureValue))
	if err != nil {
		return err
	}
	err = s.raw.Create(ctx, key, sealed, out, ttl)
	strip(out)
	return s.writeError(key, err)
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

// GetList reads objects without their ciphertexts. It omits misplaced records, so that a page may be shorter than its
// limit. A list that failed halfway has what was read before.
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

// writeError is readError for a write, which may have been refused because its key is retired.
func (s *Store) writeError(key string, err error) error {
	if retired, ok := errors.AsType[*RetiredError](err); ok {
		s.sealer.noteRetired(retired.Key)
		return operationError(Sealing, objectAt(key), retired)
	}
	return readError(key, err)
}

// strip drops the ciphertext in place: the etcd3 store returns freshly decoded objects, which nobody shares.
func strip(obj runtime.Object) {
	if sv, ok := obj.(*secret.SecureValue); ok && sv != nil {
		sv.Sealed = nil
	}
}

// keepKeyName restores status.key of a deleted object that was taken from the cache's suggestion, which has no envelope
// to derive it from.
func keepKeyName(out, suggestion runtime.Object) {
	deleted, ok := out.(*secret.SecureValue)
	if !ok || deleted.Status.Key != "" {
		return
	}
	if cached, ok := suggestion.(*secret.SecureValue); ok && cached != nil {
		deleted.Status.Key = cached.Status.Key
	}
}
