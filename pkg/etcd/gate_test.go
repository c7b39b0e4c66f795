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
	var asked call
	kv := newGate(s.Client().KV, func(call call) error {
		asked = call
		if call == read {
			return nil
		}
		return ErrDiskFull
	})
	put, get, del := clientv3.OpPut("/k", "v"), clientv3.OpGet("/k"), clientv3.OpDelete("/k")
	for name, test := range map[string]struct {
		call func(ctx context.Context) error
		want call
	}{
		"put":                  {func(ctx context.Context) error { _, err := kv.Put(ctx, "/k", "v"); return err }, write},
		"get":                  {func(ctx context.Context) error { _, err := kv.Get(ctx, "/k"); return err }, read},
		"delete":               {func(ctx context.Context) error { _, err := kv.Delete(ctx, "/k"); return err }, housekeeping},
		"compact":              {func(ctx context.Context) error { _, err := kv.Compact(ctx, 1); return err }, housekeeping},
		"do":                   {func(ctx context.Context) error { _, err := kv.Do(ctx, put); return err }, write},
		"reserved":             {func(ctx context.Context) error { _, err := kv.Put(Reserved(ctx), "/k", "v"); return err }, housekeeping},
		"upstream's compactor": {func(ctx context.Context) error { _, err := kv.Put(ctx, compactRevKey, "1"); return err }, housekeeping},
		"transaction that puts": {func(ctx context.Context) error {
			_, err := kv.Txn(ctx).If().Then(put, del).Else(get).Commit()
			return err
		}, write},
		"transaction that puts otherwise": {func(ctx context.Context) error { _, err := kv.Txn(ctx).Else(put).Commit(); return err }, write},
		"transaction that deletes": {func(ctx context.Context) error {
			_, err := kv.Txn(ctx).Then(del).Else(get).Commit()
			return err
		}, housekeeping},
		"transaction in a transaction": {func(ctx context.Context) error {
			_, err := kv.Txn(ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{get}, []clientv3.Op{put})).Commit()
			return err
		}, write},
		"transaction that reads": {func(ctx context.Context) error { _, err := kv.Txn(ctx).Then(get).Commit(); return err }, read},
	} {
		asked = -1
		err := test.call(t.Context())
		if asked != test.want || (err == nil) != (test.want == read) {
			t.Errorf("%s: asked for %d, want %d; %v", name, asked, test.want, err)
		}
		if err != nil && !errors.Is(NoRoom(err), ErrDiskFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
