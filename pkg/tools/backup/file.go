// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"google.golang.org/protobuf/proto"

	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
)

// The faults of a file. Nothing of its content is quoted.
var (
	errNotBackup = errors.New("not a backup, or cut: its length is not that of a database followed by a checksum")
	errChecksum  = errors.New("cut or changed since it was made: its checksum does not match")
	errDatabase  = errors.New("its checksum matches, but it is not a valid etcd database")
)

// sector divides the length of a database, so that a checksum after it is detected. etcd does the same.
const sector = 512

// openTimeout bounds the wait for a file that another process has open for writing.
const openTimeout = 5 * time.Second

// revisionLength is that of a key in etcd's bucket "key": two numbers of 8 bytes and a separator. A tombstone's is
// longer.
const revisionLength = 17

// file is a backup whose checksum matches.
type file struct {
	path string
	size int64
	db   *bolt.DB
	// revision is that of the whole database.
	revision int64
	// records has the revision of each record's last version, about 150 bytes per record.
	records map[string][revisionLength]byte
	// roots are those of the records: see sealed.Roots.
	roots [2]string
}

// openFile checks a backup and finds what is stored under roots in it. Its errors name the file.
func openFile(ctx context.Context, path string, roots [2]string, bar *cli.Bar) (*file, error) {
	size, err := checkSum(ctx, path, bar)
	if err != nil {
		if in, ok := errors.AsType[*os.PathError](err); ok {
			err = in.Err // the path is added below
		}
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	f := &file{path: path, size: size, roots: roots}
	if err := f.load(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, errors.Join(err, f.close()))
	}
	return f, nil
}

// checkSum reads the whole file once, before bbolt trusts its pages.
func checkSum(ctx context.Context, path string, bar *cli.Bar) (size int64, err error) {
	f, err := os.Open(path) //nolint:gosec // named by a flag
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size = info.Size()
	if !info.Mode().IsRegular() || size < sector || size%sector != sha256.Size {
		return 0, errNotBackup
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, watched(ctx, f, bar, size), size-sha256.Size); err != nil {
		return 0, err
	}
	var want [sha256.Size]byte
	if _, err := io.ReadFull(f, want[:]); err != nil {
		return 0, err
	}
	if [sha256.Size]byte(sum.Sum(nil)) != want {
		return 0, errChecksum
	}
	return size, nil
}

// load opens the database and reads every key. bbolt panics on an invalid page, and a page outside of the file is a
// memory fault: both are errors here. Pages that refer to each other in a circle need a checksum made for them, and may
// hang it.
func (f *file) load() (err error) {
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
	if err := tx.ForEach(func(_ []byte, bucket *bolt.Bucket) error { return touch(bucket) }); err != nil {
		return errDatabase
	}
	return f.read(tx)
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

// read indexes the keys that start with one of the roots.
func (f *file) read(tx *bolt.Tx) error {
	history, meta := tx.Bucket(schema.Key.Name()), tx.Bucket(schema.Meta.Name())
	if history == nil || meta == nil {
		return errDatabase
	}
	f.records, f.revision = map[string][revisionLength]byte{}, 1 // of an empty etcd
	for _, name := range [][]byte{schema.ScheduledCompactKeyName, schema.FinishedCompactKeyName} {
		if compacted := meta.Get(name); len(compacted) >= revisionLength {
			f.revision = max(f.revision, mvcc.BytesToRev(compacted).Main)
		}
	}
	return history.ForEach(func(revision, record []byte) error {
		if len(revision) < revisionLength {
			return errDatabase
		}
		f.revision = max(f.revision, mvcc.BytesToRev(revision).Main)
		var kv mvccpb.KeyValue
		if err := proto.Unmarshal(record, &kv); err != nil {
			return errDatabase
		}
		key := string(kv.Key)
		switch {
		case !strings.HasPrefix(key, f.roots[0]) && !strings.HasPrefix(key, f.roots[1]):
		case mvcc.IsTombstone(revision):
			delete(f.records, key)
		default:
			f.records[key] = [revisionLength]byte(revision)
		}
		return nil
	})
}

// content counts the records for people.
func (f *file) content() string {
	var sealingKeys int64
	for key := range f.records {
		if strings.HasPrefix(key, f.roots[1]) {
			sealingKeys++
		}
	}
	return cli.NumberOfSealed(int64(len(f.records))-sealingKeys, sealingKeys)
}

// each calls visit for every record in the order of keys, until it fails or ctx ends.
func (f *file) each(ctx context.Context, visit func(key string, record []byte)) error {
	return f.db.View(func(tx *bolt.Tx) error {
		history := tx.Bucket(schema.Key.Name())
		for _, key := range slices.Sorted(maps.Keys(f.records)) {
			if err := ctx.Err(); err != nil {
				return err
			}
			revision := f.records[key]
			var kv mvccpb.KeyValue
			if err := proto.Unmarshal(history.Get(revision[:]), &kv); err != nil {
				return errDatabase
			}
			visit(key, kv.Value)
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

// watched reports progress on what is read, and fails when ctx ends.
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
