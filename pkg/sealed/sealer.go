// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// envelopePrefix starts the output of every encrypting transformer of k8s.io/apiserver.
const envelopePrefix = "k8s:enc:"

// plaintextVersion is the first byte inside the encryption: version, binding (see bind), value.
const plaintextVersion = 1

const plaintextHeader = 1 + sha256.Size

var (
	// ErrNotEncrypted is returned if the transformer's output is not an encryption envelope: the
	// EncryptionConfiguration has no provider for securevalues.secret.grafana.app, or identity first.
	ErrNotEncrypted = errors.New("the encryption configuration does not encrypt " + secret.Resource + "." +
		secret.GroupName)
	// ErrBound is returned for a ciphertext that was changed, or sealed for another object, version or set of
	// decrypters.
	ErrBound = errors.New("the sealed value was changed, or belongs to another object, version or list of decrypters")
)

// The operations of an OperationError.
const (
	Sealing       = "sealing"
	Opening       = "opening"
	ReadingRecord = "reading"
)

// OperationError reports that an object could not be read, or its value not sealed or opened; FaultOf classifies it.
// Its text is for the log only: it may quote a key provider.
type OperationError struct {
	// Operation is Sealing, Opening or ReadingRecord.
	Operation string
	// Namespace and Name identify the object.
	Namespace, Name string
	// Err is the cause.
	Err error
}

// Error names the operation, the object and the cause.
func (e *OperationError) Error() string {
	return fmt.Sprintf("%s the value of %s/%s: %v", e.Operation, e.Namespace, e.Name, e.Err)
}

// Unwrap returns the cause.
func (e *OperationError) Unwrap() error { return e.Err }

// Sealer seals and opens values with a transformer of an EncryptionConfiguration.
type Sealer struct {
	transformer value.Transformer
	keys        Keys
	retired     atomic.Pointer[string] // see noteRetired
}

// Keys describes the keys of the active encryption configuration.
type Keys interface {
	// WriteKey returns provider and name of the active write key, and for a KMS the id of its key. It seals nothing and
	// calls no KMS.
	WriteKey() (provider, name, kmsKeyID string, err error)
	// Names lists all keys as PROVIDER/NAME, longest first. A KMS provider stands for all keys of its plugin.
	Names() []string
}

// NewSealer returns a Sealer over the transformer that is configured for securevalues.secret.grafana.app. Without keys
// it opens and seals, but does not know its write key.
func NewSealer(transformer value.Transformer, keys Keys) *Sealer {
	return &Sealer{transformer: transformer, keys: keys}
}

// Codec returns a codec that names keys by the active configuration.
func (s *Sealer) Codec(object runtime.Codec) *Codec { return &Codec{object: object, names: s.names} }

// names returns nil if the configuration is unknown.
func (s *Sealer) names() []string {
	if s.keys == nil {
		return nil
	}
	return s.keys.Names()
}

// keyName is KeyName by the active configuration.
func (s *Sealer) keyName(sealed []byte) string { return KeyName(sealed, s.names()) }

// Seal encrypts a value for obj. It returns an *OperationError.
func (s *Sealer) Seal(ctx context.Context, obj *secret.SecureValue, v sensitive.Value) ([]byte, error) {
	sealed, err := s.sealFor(ctx, AAD(obj), v)
	if err != nil {
		return nil, operationError(Sealing, obj, err)
	}
	return sealed, nil
}

// sealFor encrypts a value for an AAD, with a binding inside the encryption, because aescbc and secretbox ignore the
// AAD.
func (s *Sealer) sealFor(ctx context.Context, aad []byte, v sensitive.Value) ([]byte, error) {
	plain := make([]byte, 0, plaintextHeader+len(v))
	plain = append(plain, plaintextVersion)
	plain = append(plain, make([]byte, sha256.Size)...)
	plain = append(plain, v.Expose()...)
	defer clear(plain)
	bind(plain[1:plaintextHeader], aad, plain[plaintextHeader:])

	sealed, err := s.transformer.TransformToStorage(ctx, plain, value.DefaultContext(aad))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKeyUnavailable, err) // local keys always seal
	}
	if !bytes.HasPrefix(sealed, []byte(envelopePrefix)) {
		return nil, fmt.Errorf("%w: %w", ErrKeyMissing, ErrNotEncrypted)
	}
	return sealed, nil
}

// WriteKey names the key that Seal uses, as KeyName does. It returns ErrKeyUnavailable while a KMS has reported none.
func (s *Sealer) WriteKey() (string, error) {
	if s.keys == nil {
		return "", fmt.Errorf("the write key is not known: %w", ErrKeyMissing)
	}
	provider, name, kmsKeyID, err := s.keys.WriteKey()
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrKeyUnavailable, err)
	}
	if provider == providerKMS {
		return kmsKeyName(name, kmsKeyID), nil
	}
	return provider + "/" + name, nil
}

// Open decrypts obj.Sealed, which must have been sealed for exactly this obj. It returns an *OperationError.
func (s *Sealer) Open(ctx context.Context, obj *secret.SecureValue) (sensitive.Value, error) {
	v, err := s.openFor(ctx, AAD(obj), obj.Sealed)
	if err != nil {
		return "", operationError(Opening, obj, err)
	}
	return v, nil
}

// openFor decrypts what sealFor sealed for exactly this AAD.
func (s *Sealer) openFor(ctx context.Context, aad, sealed []byte) (sensitive.Value, error) {
	if !bytes.HasPrefix(sealed, []byte(envelopePrefix)) {
		return "", ErrNotEncrypted
	}
	plain, err := s.decrypt(ctx, sealed, aad)
	if err != nil {
		return "", fmt.Errorf("%w: %w", s.openFault(sealed, err), err)
	}
	defer clear(plain)
	if len(plain) < plaintextHeader || plain[0] != plaintextVersion {
		return "", ErrBound
	}
	var want [sha256.Size]byte
	bind(want[:], aad, plain[plaintextHeader:])
	if subtle.ConstantTimeCompare(plain[1:plaintextHeader], want[:]) != 1 {
		return "", ErrBound
	}
	return sensitive.Value(plain[plaintextHeader:]), nil
}

// decrypt turns a panic into ErrBound: upstream's aescbc indexes out of range when a ciphertext is truncated to its IV,
// and clients with write access to etcd must not be able to crash the server.
func (s *Sealer) decrypt(ctx context.Context, sealed, aad []byte) (plain []byte, err error) {
	defer func() {
		if recover() != nil {
			plain, err = nil, ErrBound
		}
	}()
	plain, _, err = s.transformer.TransformFromStorage(ctx, sealed, value.DefaultContext(aad))
	return plain, err
}

// bind writes SHA-256(SHA-256(AAD), value) to dst. It covers the value, not the AAD alone, because aescbc has no
// integrity: the blocks of one value could be spliced after the header of another.
func bind(dst, aad, v []byte) {
	context := sha256.Sum256(aad)
	h := sha256.New()
	h.Write(context[:])
	h.Write(v)
	h.Sum(dst[:0])
}

func operationError(operation string, obj *secret.SecureValue, err error) error {
	return &OperationError{Operation: operation, Namespace: obj.Namespace, Name: obj.Name, Err: err}
}

// Why a value cannot be opened or sealed, as returned by FaultOf. The texts are constant: errors of key providers are
// for the log.
var (
	// ErrKeyMissing is permanent until the operator restores the key.
	ErrKeyMissing = errors.New("its key is not in the encryption configuration")
	// ErrKeyUnavailable lasts until the KMS answers. It is the only fault of a stored value that is worth a retry.
	ErrKeyUnavailable = errors.New("the KMS that has its key does not answer")
	// ErrDamaged is permanent.
	ErrDamaged = errors.New("it was changed, or its key has another secret than the one of that name in the " +
		"configuration")
)

// FaultOf classifies an error about a stored value as ErrKeyMissing, ErrKeyUnavailable or ErrDamaged, or about a
// refused one as ErrKeyRetired. It returns nil for other errors. Both ports and all tools use it.
func FaultOf(err error) error {
	is := func(target error) bool { return errors.Is(err, target) }
	faults := []error{ErrKeyMissing, ErrKeyUnavailable, ErrDamaged, ErrKeyRetired}
	if at := slices.IndexFunc(faults, is); at >= 0 {
		return faults[at]
	}
	if slices.ContainsFunc([]error{ErrBound, ErrNotEncrypted, ErrFrame, ErrNoEnvelope, ErrKeyName, errUndecodable,
		ErrMisplaced}, is) {
		return ErrDamaged
	}
	return nil
}

// Texts of upstream errors: no configured key has the name in the envelope; a plugin did not unwrap a data key; a
// plugin has never answered. Upstream exports no errors for them; TestOpenFaults fails when they change.
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
	case strings.HasPrefix(key, providerKMS+"/") && isTransient(err):
		return ErrKeyUnavailable
	default:
		return ErrDamaged
	}
}

// isTransient reports whether an error of upstream's KMS transformer is about the plugin and not about the envelope. A
// plugin that calls the wrapped data key invalid will always do so.
func isTransient(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	text := err.Error()
	return strings.Contains(text, textNoStatus) || strings.Contains(text, textNotOpened) &&
		status.Code(err) != codes.InvalidArgument
}
