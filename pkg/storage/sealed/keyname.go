// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"google.golang.org/protobuf/encoding/protowire"
)

// kmsKeyIDField is EncryptedObject.keyID in k8s.io/apiserver/pkg/storage/value/encrypt/envelope/kmsv2/v2/api.proto.
const kmsKeyIDField = 2

// shortHashLength is how many hexadecimal digits of a KMS key id's SHA-256 a key name shows.
const shortHashLength = 8

// KeyName names the key that sealed a ciphertext, read from the envelope's prefix alone and never from the
// configuration: "aesgcm/NAME", "secretbox/NAME", "aescbc/NAME", or "kms/PROVIDER/HASH" with a short hash of the KMS
// key id, which may be an account's resource name. Something that is no envelope has the name "".
func KeyName(sealed []byte) string {
	rest, ok := bytes.CutPrefix(sealed, []byte(envelopePrefix))
	if !ok {
		return ""
	}
	provider, rest, ok := bytes.Cut(rest, []byte(":"))
	if !ok {
		return ""
	}
	version, rest, ok := bytes.Cut(rest, []byte(":"))
	if !ok {
		return ""
	}
	name, rest, ok := bytes.Cut(rest, []byte(":"))
	if !ok {
		return ""
	}
	key := string(provider) + "/" + string(name)
	if string(provider) == "kms" && string(version) == "v2" {
		sum := sha256.Sum256(kmsKeyID(rest))
		key += "/" + hex.EncodeToString(sum[:])[:shortHashLength]
	}
	return key
}

// kmsKeyID finds the key id in an encoded EncryptedObject without copying its ciphertext.
func kmsKeyID(object []byte) []byte {
	for len(object) > 0 {
		number, kind, n := protowire.ConsumeTag(object)
		if n < 0 {
			return nil
		}
		object = object[n:]
		if number == kmsKeyIDField && kind == protowire.BytesType {
			id, n := protowire.ConsumeBytes(object)
			if n < 0 {
				return nil
			}
			return id
		}
		if n = protowire.ConsumeFieldValue(number, kind, object); n < 0 {
			return nil
		}
		object = object[n:]
	}
	return nil
}
