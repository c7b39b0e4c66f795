// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
)

// The faults of a file. Nothing of its content is quoted.
var (
	errNoBackup = errors.New("it is no backup, or was cut: its length is not that of a database with a checksum behind it")
	errChecksum = errors.New("it was cut or changed since it was made: its checksum does not match")
	errDatabase = errors.New("it has a good checksum, but is no sound etcd database")
)

// sector divides the length of a database, so that a checksum behind it shows. etcd tells the two apart in the same
// way.
const sector = 512

// openTimeout bounds the wait for a file that somebody holds for writing.
const openTimeout = 5 * time.Second

// file is a backup whose checksum matches.
type file struct {
	path string
	size int64
	db   *bolt.DB
	index
}

// openFile checks a backup and finds what is stored under root in it. Its errors name the file.
func openFile(ctx context.Context, path, root string, bar *cli.Bar) (*file, error) {
	size, err := checkSum(ctx, path, bar)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := &file{path: path, size: size}
	if err := f.load(root); err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(err, f.close()))
	}
	return f, nil
}

// checkSum reads the whole file once.
func checkSum(ctx context.Context, path string, bar *cli.Bar) (size int64, err error) {
	f, err := os.Open(path) //nolint:gosec // named by a flag
	if err != nil {
		return 0, reason(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return 0, reason(err)
	}
	size = info.Size()
	if !info.Mode().IsRegular() || size < sector || size%sector != sha256.Size {
		return 0, errNoBackup
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, watched(ctx, f, bar, size), size-sha256.Size); err != nil {
		return 0, reason(err)
	}
	var want [sha256.Size]byte
	if _, err := io.ReadFull(f, want[:]); err != nil {
		return 0, reason(err)
	}
	if subtle.ConstantTimeCompare(sum.Sum(nil), want[:]) != 1 {
		return 0, errChecksum
	}
	return size, nil
}

// reason drops the path from an error of os, because the caller names it.
func reason(err error) error {
	if in, ok := errors.AsType[*os.PathError](err); ok {
		return in.Err
	}
	return err
}

// load opens the database and reads all of it. What somebody put together with a checksum of its own must not end the
// command in a panic, nor keep it busy for ever: bbolt panics on a page that is not what it should be, and a page that
// is not there is a fault of memory. bbolt's own check is of no use here, since it runs on a goroutine of its own.
func (f *file) load(root string) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			err = errDatabase
		}
	}()
	f.db, err = bolt.Open(f.path, 0o600, &bolt.Options{ReadOnly: true, Timeout: openTimeout})
	if err != nil {
		return errDatabase
	}
	tx, err := f.db.Begin(false)
	if err != nil {
		return errDatabase
	}
	defer func() { err = errors.Join(err, tx.Rollback()) }()
	if tx.Size() > f.size {
		return errDatabase
	}
	raw, err := os.Open(f.path)
	if err != nil {
		return reason(err)
	}
	defer func() { _ = raw.Close() }() // only read
	if err := checkPages(raw, f.db, tx); err != nil {
		return err
	}
	if err := tx.ForEach(func(_ []byte, bucket *bolt.Bucket) error { return touch(bucket) }); err != nil {
		return errDatabase
	}
	return f.read(tx, root)
}

// touch reads every key of a bucket.
func touch(bucket *bolt.Bucket) error {
	return bucket.ForEach(func(key, value []byte) error {
		if value == nil {
			return touch(bucket.Bucket(key))
		}
		return nil
	})
}

func (f *file) close() error {
	if f.db == nil {
		return nil
	}
	return f.db.Close()
}

// watched reports what is read, and fails when ctx ends.
func watched(ctx context.Context, in io.Reader, bar *cli.Bar, total int64) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n, err := in.Read(p)
		bar.Add(int64(n), total)
		return n, err
	})
}

type readerFunc func([]byte) (int, error)

// Read implements io.Reader.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
