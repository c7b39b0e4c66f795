// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"encoding/binary"
	"errors"
)

// One etcd value, format 1, all integers big endian:
//
//	offset  size  content
//	0       3     magic "\x00sv"
//	3       1     format version, 1
//	4       4     length of the object in bytes
//	8       4     length of the sealed value in bytes
//	12      ...   object, encoded by the storage codec
//	...     ...   sealed value: the envelope that the transformer returned
const (
	frameMagic   = "\x00sv"
	frameVersion = 1
	frameHeader  = len(frameMagic) + 1 + 4 + 4
)

// ErrFrame says that an etcd value is no frame of a version this program reads.
var ErrFrame = errors.New("the stored record is not a sealed frame of a known version")

// appendFrame lays object and sealed value into one record.
func appendFrame(dst, object, sealed []byte) []byte {
	dst = append(dst, frameMagic...)
	dst = append(dst, frameVersion)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(object))) //nolint:gosec // an etcd value is far below 4 GiB
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(sealed))) //nolint:gosec // as above
	dst = append(dst, object...)
	return append(dst, sealed...)
}

// splitFrame returns the two parts of a record, as slices of it. It returns ErrFrame for anything else, a single
// missing or surplus byte included.
func splitFrame(record []byte) (object, sealed []byte, err error) {
	if len(record) < frameHeader || string(record[:len(frameMagic)]) != frameMagic || record[len(frameMagic)] != frameVersion {
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
