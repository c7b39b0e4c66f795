// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
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

// kmsKeyIDField is EncryptedObject.keyID in k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2/api.proto.
const kmsKeyIDField = 2

// versions lists the encrypting providers and the versions of their envelopes.
var versions = map[string][]string{"aesgcm": {"v1"}, "aescbc": {"v1"}, "secretbox": {"v1"}, providerKMS: {"v1", "v2"}}

const providerKMS = "kms"

// KeyName names the key that sealed a ciphertext, read from the envelope's prefix: "aesgcm/NAME", "secretbox/NAME",
// "aescbc/NAME", or "kms/PROVIDER/HASH" with a short hash of the KMS key id, which may be an account's resource name. A
// prefix ends at a colon. Names of an older configuration may contain one: configured has the names of the
// configuration as PROVIDER/NAME, longest first, and the first match wins. Any other name is secret.UnreadableKey
// unless secret.IsKeyName, because clients with write access to etcd may put anything there. For bytes that are not an
// envelope the name is "".
func KeyName(sealed []byte, configured []string) string {
	rest, ok := bytes.CutPrefix(sealed, []byte(envelopePrefix))
	if !ok {
		return ""
	}
	head, rest, ok := bytes.Cut(rest, []byte(":"))
	if !ok {
		return ""
	}
	version, rest, ok := bytes.Cut(rest, []byte(":"))
	if !ok {
		return ""
	}
	provider := string(head)
	name, rest, ok := cutName(provider, rest, configured)
	if !ok {
		return ""
	}
	if name == "" || !slices.Contains(versions[provider], string(version)) {
		return secret.UnreadableKey
	}
	if provider == providerKMS && string(version) == "v2" {
		return kmsKeyName(name, kmsKeyID(rest))
	}
	return provider + "/" + name
}

// SplitKey returns the two parts of a KeyName for a table: "-" for an absent one.
func SplitKey(name string) (provider, key string) {
	provider, key, named := strings.Cut(name, "/")
	switch {
	case named:
		return provider, key
	case name == "":
		return "-", "-"
	default:
		return "-", name
	}
}

// cutName returns the name in a prefix and what follows it; the name is "" if it must not be shown.
func cutName(provider string, rest []byte, configured []string) (name string, after []byte, ok bool) {
	for _, key := range configured {
		kind, name, _ := strings.Cut(key, "/")
		if kind == provider && len(rest) > len(name) && rest[len(name)] == ':' && string(rest[:len(name)]) == name {
			if !secret.IsPrintable(name) {
				name = ""
			}
			return name, rest[len(key)-len(kind):], true
		}
	}
	found, after, ok := bytes.Cut(rest, []byte(":"))
	if name = string(found); !secret.IsKeyName(name) {
		name = ""
	}
	return name, after, ok
}

// kmsKeyName names a key of a KMS by a short hash of its id.
func kmsKeyName(provider, keyID string) string {
	sum := sha256.Sum256([]byte(keyID))
	return providerKMS + "/" + provider + "/" + hex.EncodeToString(sum[:])[:secret.KMSHashLength]
}

// kmsKeyID finds the key id in an encoded EncryptedObject without copying its ciphertext.
func kmsKeyID(object []byte) string {
	for len(object) > 0 {
		number, kind, n := protowire.ConsumeTag(object)
		if n < 0 {
			return ""
		}
		object = object[n:]
		if number == kmsKeyIDField && kind == protowire.BytesType {
			id, n := protowire.ConsumeBytes(object)
			if n < 0 {
				return ""
			}
			return string(id)
		}
		if n = protowire.ConsumeFieldValue(number, kind, object); n < 0 {
			return ""
		}
		object = object[n:]
	}
	return ""
}
