// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"

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
	// ErrNotEncrypted says that the transformer handed back something that is no encryption envelope. The
	// EncryptionConfiguration names no provider for securevalues.secret.grafana.app, or puts identity first.
	ErrNotEncrypted = errors.New("the encryption configuration does not encrypt " + secret.Resource + "." + secret.GroupName)
	// ErrBound says that a ciphertext was sealed for another object, version or set of decrypters, or was changed.
	ErrBound = errors.New("the sealed value was changed, or belongs to another object, version or list of decrypters")
)

// The operations of an OperationError.
const (
	Sealing       = "sealing"
	Opening       = "opening"
	ReadingRecord = "reading"
)

// OperationError says that one object could not be read, or its value not sealed or opened; FaultOf tells why. Its text is for the
// log: it may hold what a key provider said, so a client gets a constant text instead.
type OperationError struct {
	// Operation is Sealing, Opening or ReadingRecord.
	Operation string
	// Namespace and Name say which object.
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

// Sealer seals and opens values with a transformer out of an EncryptionConfiguration.
type Sealer struct {
	transformer value.Transformer
	keys        Keys
}

// Keys is what the encryption configuration in force says of its keys.
type Keys interface {
	// WriteKey returns the provider and the name of the key that seals now, and for a KMS the id of its key. It seals nothing
	// and asks no KMS.
	WriteKey() (provider, name, kmsKeyID string, err error)
	// Names lists all keys as PROVIDER/NAME, the longest name first. A KMS provider stands for all keys of its plugin.
	Names() []string
}

// NewSealer returns a Sealer over the transformer that is configured for securevalues.secret.grafana.app, and its keys.
// Without keys it opens and seals, but does not know its write key.
func NewSealer(transformer value.Transformer, keys Keys) *Sealer {
	return &Sealer{transformer: transformer, keys: keys}
}

// Codec returns a codec that names keys by the configuration in force.
func (s *Sealer) Codec(object runtime.Codec) *Codec { return &Codec{object: object, names: s.names} }

// names is nil when the configuration is not known.
func (s *Sealer) names() []string {
	if s.keys == nil {
		return nil
	}
	return s.keys.Names()
}

// keyName is KeyName by the configuration in force.
func (s *Sealer) keyName(sealed []byte) string { return KeyName(sealed, s.names()) }

// Seal encrypts a value for obj, with a binding inside the encryption, because aescbc and secretbox ignore the AAD
// that they are given. It returns an *OperationError.
func (s *Sealer) Seal(ctx context.Context, obj *secret.SecureValue, v sensitive.Value) ([]byte, error) {
	aad := AAD(obj)
	plain := make([]byte, 0, plaintextHeader+len(v))
	plain = append(plain, plaintextVersion)
	plain = append(plain, make([]byte, sha256.Size)...)
	plain = append(plain, v.Expose()...)
	defer clear(plain)
	bind(plain[1:plaintextHeader], aad, plain[plaintextHeader:])

	sealed, err := s.transformer.TransformToStorage(ctx, plain, value.DefaultContext(aad))
	if err != nil {
		return nil, operationError(Sealing, obj, fmt.Errorf("%w: %w", ErrKeyUnavailable, err)) // local keys always seal
	}
	if !bytes.HasPrefix(sealed, []byte(envelopePrefix)) {
		return nil, operationError(Sealing, obj, fmt.Errorf("%w: %w", ErrKeyMissing, ErrNotEncrypted))
	}
	return sealed, nil
}

// WriteKey names the key that Seal uses now, as KeyName does. The error is ErrKeyUnavailable while a KMS has named none.
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
	if !bytes.HasPrefix(obj.Sealed, []byte(envelopePrefix)) {
		return "", operationError(Opening, obj, ErrNotEncrypted)
	}
	aad := AAD(obj)
	plain, err := s.decrypt(ctx, obj.Sealed, aad)
	if err != nil {
		return "", operationError(Opening, obj, fmt.Errorf("%w: %w", s.openFault(obj.Sealed, err), err))
	}
	defer clear(plain)
	if len(plain) < plaintextHeader || plain[0] != plaintextVersion {
		return "", operationError(Opening, obj, ErrBound)
	}
	var want [sha256.Size]byte
	bind(want[:], aad, plain[plaintextHeader:])
	if subtle.ConstantTimeCompare(plain[1:plaintextHeader], want[:]) != 1 {
		return "", operationError(Opening, obj, ErrBound)
	}
	return sensitive.Value(plain[plaintextHeader:]), nil
}

// decrypt turns a panic into ErrBound: upstream's aescbc indexes out of range when a ciphertext is cut down to its IV,
// and whoever writes to etcd must not be able to end this server.
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
// integrity: the blocks of one value could be spliced behind the header of another.
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
