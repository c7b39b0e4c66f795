// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/server/v3/storage/schema"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
)

const root = "/registry/"

// wholeBackup is a backup of an etcd with some hundred records on many pages.
func wholeBackup(t *testing.T) []byte {
	t.Helper()
	db, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(t.TempDir(), "etcd")})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Stop()
	value := string(make([]byte, 900))
	for i := range 300 {
		if _, err := db.Client().Put(t.Context(), fmt.Sprintf("%s%d", root, i), value); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(t.TempDir(), "backup.db")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := db.Client().SnapshotWithVersion(t.Context())
	if err == nil {
		_, err = f.ReadFrom(snapshot.Snapshot)
	}
	if err := errors.Join(err, snapshot.Snapshot.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// forged puts a checksum behind a changed database and restores it as the command does, and reports whether it was
// taken.
func forged(t *testing.T, database []byte) bool {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "forged.db")
	sum := sha256.Sum256(database)
	if err := os.WriteFile(path, slices.Concat(database, sum[:]), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openFile(t.Context(), path, root, nil)
	if err != nil {
		if !errors.Is(err, errDatabase) {
			t.Errorf("want it refused as no sound database: %v", err)
		}
		return false
	}
	defer func() { _ = f.close() }()
	if err := f.each(t.Context(), func(string, []byte) {}); err != nil {
		t.Errorf("a record is not there: %v", err)
	}
	_ = etcd.Restore(path, filepath.Join(dir, "restored"), 1) // an error is one; what must not be is a panic
	return true
}

// rootPage is the first page of the tree of records: others may be those of earlier trees.
func rootPage(t *testing.T, database []byte) (id int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, database, 0o600); err != nil {
		t.Fatal(err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	err = db.View(func(tx *bolt.Tx) error {
		id = int(tx.Bucket(schema.Key.Name()).Root())
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// Somebody who edits a backup can compute its checksum. Whatever the pages then say of each other, the command refuses
// the file or restores it; it neither panics nor goes on for ever.
func TestForgedPages(t *testing.T) {
	whole := wholeBackup(t)
	database := whole[:len(whole)-sha256.Size]
	size := os.Getpagesize()
	if !forged(t, database) {
		t.Fatal("the whole backup is refused")
	}
	branch := rootPage(t, database) * size
	if binary.NativeEndian.Uint16(database[branch+8:]) != branchPage {
		t.Fatal("the records are on one page")
	}
	child := branch + headerBytes + 8
	leaf := int(binary.NativeEndian.Uint64(database[child:])) * size
	for name, change := range map[string]func(b []byte){
		"a page that is its own child":   func(b []byte) { binary.NativeEndian.PutUint64(b[child:], uint64(branch/size)) },
		"a page with two parents":        func(b []byte) { copy(b[child:child+8], b[child+elementBytes:]) },
		"a child behind the end":         func(b []byte) { binary.NativeEndian.PutUint64(b[child:], 1<<40) },
		"a child that is a meta page":    func(b []byte) { binary.NativeEndian.PutUint64(b[child:], 1) },
		"a branch without a child":       func(b []byte) { binary.NativeEndian.PutUint16(b[branch+10:], 0) },
		"more elements than fit":         func(b []byte) { binary.NativeEndian.PutUint16(b[leaf+10:], 0xFFFF) },
		"a page that is longer than all": func(b []byte) { binary.NativeEndian.PutUint32(b[leaf+12:], 0xFFFFFFFF) },
		"another type":                   func(b []byte) { binary.NativeEndian.PutUint16(b[leaf+8:], 4) },
		"another id":                     func(b []byte) { binary.NativeEndian.PutUint64(b[leaf:], 1<<20) },
		"a key behind the page":          func(b []byte) { binary.NativeEndian.PutUint32(b[leaf+headerBytes+8:], 0xFFFFFFFF) },
		"a value behind the page":        func(b []byte) { binary.NativeEndian.PutUint32(b[leaf+headerBytes+12:], 0xFFFFFFFF) },
		"keys out of order": func(b []byte) {
			one, two := leaf+headerBytes, leaf+headerBytes+elementBytes
			for i := range elementBytes {
				b[one+i], b[two+i] = b[two+i], b[one+i]
			}
		},
		"a value that is a bucket": func(b []byte) { binary.NativeEndian.PutUint32(b[leaf+headerBytes:], bucketElement) },
	} {
		changed := slices.Clone(database)
		change(changed)
		if forged(t, changed) {
			t.Errorf("%s: it is taken", name)
		}
	}
}

// The same by chance: words of headers and elements anywhere, in pages and in what etcd keeps in them.
func TestForgedByChance(t *testing.T) {
	whole := wholeBackup(t)
	database := whole[:len(whole)-sha256.Size]
	size := os.Getpagesize()
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tried, taken := 0, 0
	for ; tried < 60 && ctx.Err() == nil; tried++ {
		changed := slices.Clone(database)
		for range 1 + random.IntN(3) {
			page := (2 + random.IntN(len(database)/size-2)) * size
			at := page + 2*random.IntN(100)
			values := []uint16{0, 1, 2, 4, 0xFFFF, uint16(random.IntN(len(database) / size)), uint16(random.Uint32())}
			binary.NativeEndian.PutUint16(changed[at:], values[random.IntN(len(values))])
		}
		if forged(t, changed) {
			taken++
		}
	}
	t.Logf("seed %d: %d files, %d of them taken", seed, tried, taken)
}
