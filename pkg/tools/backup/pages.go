// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"bytes"
	"encoding/binary"
	"io"

	bolt "go.etcd.io/bbolt"
)

// The layout of a page, from bbolt's internal/common: a header of id (8 bytes), flags (2), count (2) and overflow (4),
// then count elements, then what they point to, from their own start. It is in the order of the machine's bytes, as the
// file is.
const (
	headerBytes  = 16
	elementBytes = 16

	branchPage, leafPage = 1, 2
	// bucketElement marks a leaf element whose value is a bucket: its root page (8 bytes), a sequence (8), and a page
	// in place when the root is 0.
	bucketElement = 1
	bucketBytes   = 16
	// deepest is far more levels than a tree of any size has.
	deepest = 64
)

// pages walks every page that a database holds, once. bbolt trusts what pages say of each other: one that points to
// itself keeps it busy for ever, one that two others point to panics on a goroutine that nobody can recover.
type pages struct {
	file io.ReaderAt
	size int
	seen []bool // by page
}

// checkPages wants the pages of a database to be a tree with its keys in order.
func checkPages(file io.ReaderAt, db *bolt.DB, tx *bolt.Tx) error {
	size := db.Info().PageSize
	p := pages{file: file, size: size, seen: make([]bool, tx.Size()/int64(size))}
	return p.walk(uint64(tx.Cursor().Bucket().Root()), nil, nil, 0)
}

// walk checks a page and all below it. Its keys are from low up to but not with high; nil sets no bound.
func (p *pages) walk(id uint64, low, high []byte, depth int) error {
	if depth > deepest || id < 2 || id >= uint64(len(p.seen)) {
		return errDatabase
	}
	at := int64(id) * int64(p.size) //nolint:gosec // a page of the file
	header := make([]byte, headerBytes)
	if _, err := p.file.ReadAt(header, at); err != nil {
		return errDatabase
	}
	more := uint64(binary.NativeEndian.Uint32(header[12:]))
	if binary.NativeEndian.Uint64(header) != id || id+more >= uint64(len(p.seen)) {
		return errDatabase
	}
	for i := id; i <= id+more; i++ {
		if p.seen[i] {
			return errDatabase
		}
		p.seen[i] = true
	}
	page := make([]byte, (1+more)*uint64(p.size)) //nolint:gosec // no more than the file has
	if _, err := p.file.ReadAt(page, at); err != nil {
		return errDatabase
	}
	return p.elements(page, low, high, depth)
}

// elements checks what is in a page.
func (p *pages) elements(page, low, high []byte, depth int) error {
	flags, count := binary.NativeEndian.Uint16(page[8:]), int(binary.NativeEndian.Uint16(page[10:]))
	if flags != branchPage && flags != leafPage || flags == branchPage && count == 0 || headerBytes+count*elementBytes > len(page) {
		return errDatabase
	}
	for i := range count {
		key, ok := keyOf(page, flags, i)
		if !ok || i > 0 && bytes.Compare(key, low) <= 0 || bytes.Compare(key, low) < 0 || high != nil && bytes.Compare(key, high) >= 0 {
			return errDatabase
		}
		low = key
		end := high
		if i+1 < count {
			if end, ok = keyOf(page, flags, i+1); !ok {
				return errDatabase
			}
		}
		if err := p.below(page, flags, i, key, end, depth); err != nil {
			return err
		}
	}
	return nil
}

// keyOf returns the key of an element.
func keyOf(page []byte, flags uint16, i int) ([]byte, bool) {
	start := headerBytes + i*elementBytes
	if flags == branchPage {
		return within(page, start, binary.NativeEndian.Uint32(page[start:]), binary.NativeEndian.Uint32(page[start+4:]))
	}
	return within(page, start, binary.NativeEndian.Uint32(page[start+4:]), binary.NativeEndian.Uint32(page[start+8:]))
}

// within returns length bytes at an offset from start.
func within(page []byte, start int, offset, length uint32) ([]byte, bool) {
	from := int64(start) + int64(offset)
	to := from + int64(length)
	if to > int64(len(page)) {
		return nil, false
	}
	return page[from:to], true
}

// below checks what an element points to: a child, a bucket, or a value.
func (p *pages) below(page []byte, flags uint16, i int, low, high []byte, depth int) error {
	start := headerBytes + i*elementBytes
	if flags == branchPage {
		return p.walk(binary.NativeEndian.Uint64(page[start+8:]), low, high, depth+1)
	}
	keyLength := binary.NativeEndian.Uint32(page[start+8:])
	offset := uint64(binary.NativeEndian.Uint32(page[start+4:])) + uint64(keyLength)
	if offset > uint64(len(page)) {
		return errDatabase
	}
	value, ok := within(page, start, uint32(offset), binary.NativeEndian.Uint32(page[start+12:])) //nolint:gosec // just compared
	kind := binary.NativeEndian.Uint32(page[start:])
	switch {
	case !ok || kind > bucketElement:
		return errDatabase
	case kind != bucketElement:
		return nil
	case len(value) < bucketBytes:
		return errDatabase
	}
	if root := binary.NativeEndian.Uint64(value); root != 0 {
		return p.walk(root, nil, nil, depth+1)
	}
	inPlace := value[bucketBytes:]
	if depth > deepest || len(inPlace) < headerBytes || binary.NativeEndian.Uint16(inPlace[8:]) != leafPage {
		return errDatabase
	}
	return p.elements(inPlace, nil, nil, depth+1)
}
