// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Every way to write to etcd passes the gate, and reads never ask for room.
func TestGate(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "etcd"))
	var asked Call
	kv := Gate(s.Client().KV, func(call Call) error {
		asked = call
		if call == Read {
			return nil
		}
		return ErrDiskFull
	})
	put, get, del := clientv3.OpPut("/k", "v"), clientv3.OpGet("/k"), clientv3.OpDelete("/k")
	for name, test := range map[string]struct {
		call func(ctx context.Context) error
		want Call
	}{
		"put":                  {func(ctx context.Context) error { _, err := kv.Put(ctx, "/k", "v"); return err }, Write},
		"get":                  {func(ctx context.Context) error { _, err := kv.Get(ctx, "/k"); return err }, Read},
		"delete":               {func(ctx context.Context) error { _, err := kv.Delete(ctx, "/k"); return err }, Housekeeping},
		"compact":              {func(ctx context.Context) error { _, err := kv.Compact(ctx, 1); return err }, Housekeeping},
		"do":                   {func(ctx context.Context) error { _, err := kv.Do(ctx, put); return err }, Write},
		"reserved":             {func(ctx context.Context) error { _, err := kv.Put(Reserved(ctx), "/k", "v"); return err }, Housekeeping},
		"upstream's compactor": {func(ctx context.Context) error { _, err := kv.Put(ctx, compactRevKey, "1"); return err }, Housekeeping},
		"transaction that puts": {func(ctx context.Context) error {
			_, err := kv.Txn(ctx).If().Then(put, del).Else(get).Commit()
			return err
		}, Write},
		"transaction that puts otherwise": {func(ctx context.Context) error { _, err := kv.Txn(ctx).Else(put).Commit(); return err }, Write},
		"transaction that deletes": {func(ctx context.Context) error {
			_, err := kv.Txn(ctx).Then(del).Else(get).Commit()
			return err
		}, Housekeeping},
		"transaction in a transaction": {func(ctx context.Context) error {
			_, err := kv.Txn(ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{get}, []clientv3.Op{put})).Commit()
			return err
		}, Write},
		"transaction that reads": {func(ctx context.Context) error { _, err := kv.Txn(ctx).Then(get).Commit(); return err }, Read},
	} {
		asked = -1
		err := test.call(t.Context())
		if asked != test.want || (err == nil) != (test.want == Read) {
			t.Errorf("%s: asked for %d, want %d; %v", name, asked, test.want, err)
		}
		if err != nil && !errors.Is(NoRoom(err), ErrDiskFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
