// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// Verifier tells whether records open, for a tool that must not have their values: it wipes what it opened and returns
// none of it.
type Verifier struct {
	scanner Scanner
	sealer  *Sealer
}

// NewVerifier returns a verifier of the records under etcdPrefix, the value of --etcd-prefix. codec decodes the object part
// of a record, transformer opens with keys.
func NewVerifier(codec runtime.Codec, etcdPrefix string, transformer value.Transformer, keys Keys) *Verifier {
	sealer := NewSealer(transformer, keys)
	return &Verifier{scanner: Scanner{codec: sealer.Codec(codec), prefix: RecordRoot(etcdPrefix)}, sealer: sealer}
}

// Verify reads and opens the record that etcd holds under key. Err of what it returns is nil when it opens, or is of a
// deleted object, which has nothing to open.
func (v *Verifier) Verify(ctx context.Context, key string, record []byte) Scanned {
	found := v.scanner.read(key, record)
	if found.Err == nil && !found.Deleted {
		found.Err = v.open(ctx, record)
	}
	return found
}

func (v *Verifier) open(ctx context.Context, record []byte) error {
	obj, _, err := v.scanner.codec.Decode(record, nil, nil)
	if err != nil {
		return err
	}
	sv := obj.(*secret.SecureValue) // the codec decodes nothing else
	_, err = v.sealer.Open(ctx, sv)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, ErrBound):
		return ErrBound
	default:
		return FaultOf(err)
	}
}
