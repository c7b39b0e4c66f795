// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// ErrPlaintext is returned for an object whose value is not sealed. Nothing was encoded.
var ErrPlaintext = errors.New("refusing to encode an object whose spec.value is not sealed")

// Codec frames a SecureValue for etcd. It is the only codec of the etcd3 store.
type Codec struct {
	object runtime.Codec
	// names returns the keys of the active configuration: see KeyName. It may be nil.
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
	noteOrigin(&stored)
	object, err := runtime.Encode(c.object, &stored)
	if err != nil {
		return err
	}
	_, err = w.Write(appendFrame(make([]byte, 0, frameHeader+len(object)+len(sv.Sealed)), object, sv.Sealed))
	return err
}

// Identifier implements runtime.Encoder.
func (c *Codec) Identifier() runtime.Identifier {
	return "sealed-frame-v2/" + c.object.Identifier()
}

// Decode reads one frame: the object, its sealed bytes and the name of the key. It returns ErrFrame for a record that
// is not a frame. Its errors never quote the object.
func (c *Codec) Decode(record []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object,
	*schema.GroupVersionKind, error) {
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
	takeOrigin(sv)
	if len(sealed) > 0 {
		sv.Sealed = sealed
		sv.Status.Key = c.keyName(sealed)
	}
	return sv, gvk, nil
}

// noteOrigin puts SealedFrom into an annotation of the stored object, with the version that it is about: an older
// program carries annotations along when it writes a new value, and drops fields that it does not know.
func noteOrigin(stored *secret.SecureValue) {
	if stored.SealedFrom == nil {
		return
	}
	annotations := maps.Clone(stored.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[secret.AnnotationSealedFrom] = fmt.Sprintf("%d/%x", stored.Status.Version, stored.SealedFrom)
	stored.Annotations, stored.SealedFrom = annotations, nil
}

// takeOrigin is the reverse of noteOrigin, in place.
func takeOrigin(sv *secret.SecureValue) {
	note, ok := sv.Annotations[secret.AnnotationSealedFrom]
	if !ok {
		return
	}
	delete(sv.Annotations, secret.AnnotationSealedFrom)
	version, digest, _ := strings.Cut(note, "/")
	if sum, err := hex.DecodeString(digest); err == nil && len(sum) == sha256.Size &&
		version == strconv.FormatInt(sv.Status.Version, 10) {
		sv.SealedFrom = sum
	}
}

func (c *Codec) keyName(sealed []byte) string {
	if c.names == nil {
		return KeyName(sealed, nil)
	}
	return KeyName(sealed, c.names())
}

// One etcd value, all integers big endian. Versions 1 and 2 differ in the number only: a writer of version 1 does not
// know retired keys, so that nothing stops it from sealing under one. This program writes version 2 and reads both.
//
//	offset  size  content
//	0       3     magic "\x00sv"
//	3       1     format version
//	4       4     length of the object in bytes
//	8       4     length of the sealed value in bytes
//	12      ...   object, encoded by the storage codec
//	...     ...   sealed value: the envelope that the transformer returned
const (
	frameMagic      = "\x00sv"
	frameVersion    = 2
	unfencedVersion = 1
	frameHeader     = len(frameMagic) + 1 + 4 + 4
)

// ErrFrame is returned for an etcd value that is not a frame of a version this program reads.
var ErrFrame = errors.New("the stored record is not a sealed frame of a known version")

// appendFrame appends a record of object and sealed value.
func appendFrame(dst, object, sealed []byte) []byte {
	dst = append(dst, frameMagic...)
	dst = append(dst, frameVersion)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(object))) //nolint:gosec // an etcd value is far below 4 GiB
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(sealed))) //nolint:gosec // as above
	dst = append(dst, object...)
	return append(dst, sealed...)
}

// splitFrame returns the two parts of a record, as slices of it. It returns ErrFrame for anything else, including a
// record with one byte too few or too many.
func splitFrame(record []byte) (object, sealed []byte, err error) {
	if len(record) < frameHeader || string(record[:len(frameMagic)]) != frameMagic ||
		record[len(frameMagic)] != frameVersion && !isUnfenced(record) {
		return nil, nil, ErrFrame
	}
	objectLen := uint64(binary.BigEndian.Uint32(record[4:]))
	sealedLen := uint64(binary.BigEndian.Uint32(record[8:]))
	body := record[frameHeader:]
	if objectLen+sealedLen != uint64(len(body)) {
		return nil, nil, ErrFrame
	}
	return body[:objectLen:objectLen], body[objectLen:], nil
}

// isUnfenced reports whether the writer of a frame does not know retired keys.
func isUnfenced(frame []byte) bool { return frame[len(frameMagic)] == unfencedVersion }

// aadVersion is the first byte of the additional authenticated data; it rises when the layout changes.
const aadVersion = 1

// AAD returns the additional authenticated data that ties a ciphertext to its object: layout version, group, resource,
// namespace, name, UID, status.version and the decrypters as a sorted set. Every string is preceded by its length, so
// no two objects share an AAD. It is not secret: a KMS provider may log it.
func AAD(obj *secret.SecureValue) []byte {
	decrypters := slices.Clone(obj.Spec.Decrypters)
	slices.Sort(decrypters)
	decrypters = slices.Compact(decrypters)

	aad := make([]byte, 0, 256)
	aad = append(aad, aadVersion)
	for _, s := range []string{secret.GroupName, secret.Resource, obj.Namespace, obj.Name, string(obj.UID)} {
		aad = appendString(aad, s)
	}
	aad = binary.BigEndian.AppendUint64(aad, uint64(obj.Status.Version)) //nolint:gosec // a bit pattern, not a quantity
	for _, d := range decrypters {
		aad = appendString(aad, d)
	}
	return aad
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}
