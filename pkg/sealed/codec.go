// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"errors"
	"fmt"
	"io"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// ErrPlaintext says that somebody asked to write an object whose value was not sealed. Nothing was encoded.
var ErrPlaintext = errors.New("refusing to encode an object whose spec.value is not sealed")

// Codec frames a SecureValue for etcd. It is the only codec the etcd3 store is given.
type Codec struct {
	object runtime.Codec
	// names has the keys of the configuration in force: see KeyName. It may be nil.
	names func() []string
}

var _ runtime.Codec = (*Codec)(nil)

// NewCodec returns a Codec that encodes the object part of a frame with object.
func NewCodec(object runtime.Codec) *Codec {
	return &Codec{object: object}
}

// Encode writes one frame. It returns ErrPlaintext when spec.value is set: plaintext cannot reach etcd by construction.
func (c *Codec) Encode(obj runtime.Object, w io.Writer) error {
	sv, ok := obj.(*secret.SecureValue)
	if !ok {
		return fmt.Errorf("the sealed codec encodes SecureValue only, not %T", obj)
	}
	if sv.Spec.Value != nil {
		return ErrPlaintext
	}
	stored := *sv
	stored.Sealed = nil
	stored.Status.Key = "" // derived from the envelope on every read
	object, err := runtime.Encode(c.object, &stored)
	if err != nil {
		return err
	}
	_, err = w.Write(appendFrame(make([]byte, 0, frameHeader+len(object)+len(sv.Sealed)), object, sv.Sealed))
	return err
}

// Identifier implements runtime.Encoder.
func (c *Codec) Identifier() runtime.Identifier {
	return "sealed-frame-v1/" + c.object.Identifier()
}

// Decode reads one frame: the object, its sealed bytes and the name of the key. It returns ErrFrame for a record that
// is no frame, and an error for an object that cannot be decoded, which quotes nothing of it.
func (c *Codec) Decode(record []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	object, sealed, err := splitFrame(record)
	if err != nil {
		return nil, nil, err
	}
	obj, gvk, err := c.object.Decode(object, defaults, into)
	if err != nil {
		return nil, gvk, errUndecodable
	}
	sv, ok := obj.(*secret.SecureValue)
	if !ok {
		return nil, gvk, errUndecodable
	}
	if len(sealed) > 0 {
		sv.Sealed = sealed
		sv.Status.Key = c.keyName(sealed)
	}
	return sv, gvk, nil
}

func (c *Codec) keyName(sealed []byte) string {
	if c.names == nil {
		return KeyName(sealed, nil)
	}
	return KeyName(sealed, c.names())
}
