// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// The reasons why a record does not open, beside ErrFrame, ErrNoEnvelope and ErrBound. They are constant: what a key
// provider says is not passed on.
var (
	ErrNoKey   = errors.New("its key is not in the configuration, or the KMS that has it does not answer")
	ErrDamaged = errors.New("it was changed, or its key has another secret than the one of that name in the configuration")
)

// Verifier tells whether records open, for a tool that must not have their values: it wipes what it opened and returns
// none of it.
type Verifier struct {
	scanner Scanner
	sealer  *Sealer
}

// NewVerifier returns a verifier of the records under etcdPrefix, the value of --etcd-prefix. codec decodes the object part
// of a record, transformer opens.
func NewVerifier(codec runtime.Codec, etcdPrefix string, transformer value.Transformer) *Verifier {
	return &Verifier{scanner: Scanner{codec: NewCodec(codec), prefix: RecordRoot(etcdPrefix)}, sealer: NewSealer(transformer)}
}

// Verify reads and opens the record that etcd holds under key. Err of what it returns is nil when it opens, or is of a
// deleted object, which has nothing to open.
func (v *Verifier) Verify(ctx context.Context, key string, record []byte) Scanned {
	found := v.scanner.read(key, record)
	if found.Err == nil && !found.Deleted {
		found.Err = v.open(ctx, found, record)
	}
	return found
}

func (v *Verifier) open(ctx context.Context, found Scanned, record []byte) error {
	obj, _, err := v.scanner.codec.Decode(record, nil, nil)
	if err != nil {
		return errUndecodable
	}
	sv := obj.(*secret.SecureValue) // the codec decodes nothing else
	if sv.Namespace != found.Namespace || sv.Name != found.Name {
		return ErrBound // moved to another place by somebody who can write to etcd
	}
	_, err = v.sealer.Open(ctx, sv)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrBound):
		return ErrBound
	case errors.Is(err, ErrNotEncrypted):
		return ErrNoEnvelope
	case strings.Contains(err.Error(), textNoKey), keyOutOfReach(found.Key, err):
		return ErrNoKey
	default:
		return ErrDamaged
	}
}
