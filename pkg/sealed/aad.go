// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"encoding/binary"
	"slices"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// aadVersion is the first byte of the additional authenticated data; it rises when the layout changes.
const aadVersion = 1

// AAD returns the additional authenticated data that ties a ciphertext to its object: layout version, group, resource,
// namespace, name, UID, status.version and the decrypters as a sorted set. Every string is preceded by its length, so
// no two objects share an AAD. It is no secret: a KMS provider may log it.
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
