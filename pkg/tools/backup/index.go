// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"context"
	"maps"
	"slices"
	"strings"

	bolt "go.etcd.io/bbolt"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"google.golang.org/protobuf/proto"
)

// revisionLength is that of a key in etcd's bucket "key": two numbers of 8 bytes and a separator. A tombstone's is
// longer.
const revisionLength = 17

// index is where each record's last version is in etcd's own layout: history of the whole database by revision. It
// takes about 150 bytes for each record.
type index struct {
	revision int64
	records  map[string][revisionLength]byte
}

// read fills the index with the keys that start with root.
func (x *index) read(tx *bolt.Tx, root string) error {
	history, meta := tx.Bucket(schema.Key.Name()), tx.Bucket(schema.Meta.Name())
	if history == nil || meta == nil {
		return errDatabase
	}
	x.records, x.revision = map[string][revisionLength]byte{}, 1 // of an empty etcd
	for _, name := range [][]byte{schema.ScheduledCompactKeyName, schema.FinishedCompactKeyName} {
		if compacted := meta.Get(name); len(compacted) >= revisionLength {
			x.revision = max(x.revision, mvcc.BytesToRev(compacted).Main)
		}
	}
	return history.ForEach(func(revision, record []byte) error {
		if len(revision) < revisionLength {
			return errDatabase
		}
		x.revision = max(x.revision, mvcc.BytesToRev(revision).Main)
		var kv mvccpb.KeyValue
		if err := proto.Unmarshal(record, &kv); err != nil {
			return errDatabase
		}
		key := string(kv.Key)
		switch {
		case !strings.HasPrefix(key, root):
		case mvcc.IsTombstone(revision):
			delete(x.records, key)
		default:
			x.records[key] = [revisionLength]byte(revision)
		}
		return nil
	})
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
