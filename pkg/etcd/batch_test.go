// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/protobuf/testing/protocmp"
)

// kv counts requests. The first Get waits until it is released.
type kv struct {
	clientv3.KV
	release    chan struct{}
	fails      bool // transactions do
	gets, txns atomic.Int64
}

func (k *kv) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if k.gets.Add(1) == 1 {
		<-k.release
	}
	return k.KV.Get(ctx, key, opts...)
}

func (k *kv) Txn(ctx context.Context) clientv3.Txn {
	k.txns.Add(1)
	if k.fails {
		return failing{}
	}
	return k.KV.Txn(ctx)
}

type failing struct{ clientv3.Txn }

func (f failing) Then(...clientv3.Op) clientv3.Txn     { return f }
func (failing) Commit() (*clientv3.TxnResponse, error) { return nil, errors.New("no") }

// start runs an etcd with the values v0, v1, ... under the keys k0, k1, ...
func startBatched(t *testing.T, values int) *kv {
	t.Helper()
	server, err := Start(t.Context(), Config{Dir: filepath.Join(t.TempDir(), "etcd")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	for i := range values {
		if _, err := server.Client().Put(t.Context(), "k"+strconv.Itoa(i), "v"+strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
	}
	return &kv{KV: server.Client(), release: make(chan struct{})}
}

// ask sends count reads through b while the first of all is in flight, and compares what each returns with what etcd
// says. The last is of a key that does not exist, every other one has options.
func ask(t *testing.T, k *kv, b clientv3.KV, count int) {
	t.Helper()
	var group sync.WaitGroup
	get := func(i int) {
		key, opts := "k"+strconv.Itoa(i), []clientv3.OpOption(nil)
		if i%2 == 1 {
			opts = []clientv3.OpOption{clientv3.WithLimit(1), clientv3.WithKeysOnly()}
		}
		got, err := b.Get(t.Context(), key, opts...)
		if err != nil {
			t.Error(err)
			return
		}
		want, err := k.KV.Get(t.Context(), key, opts...)
		if err != nil {
			t.Error(err)
			return
		}
		if diff := cmp.Diff((*etcdserverpb.RangeResponse)(want), (*etcdserverpb.RangeResponse)(got), protocmp.Transform()); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
	group.Go(func() { get(0) })
	until(t, "the first read is in flight", func() bool { return k.gets.Load() == 1 })
	for i := range count {
		group.Go(func() { get(i + 1) })
	}
	batcher := b.(*batcher)
	until(t, "the others wait", func() bool {
		batcher.mutex.Lock()
		defer batcher.mutex.Unlock()
		return len(batcher.waiting) == count
	})
	close(k.release)
	group.Wait()
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain until " + what)
		}
	}
}

func TestReadsThatWaitGoTogether(t *testing.T) {
	const others = maxReads + 10
	k := startBatched(t, others)
	b := BatchReads(k)
	b.(*batcher).patience = time.Minute
	ask(t, k, b, others)
	if k.gets.Load() != 1 || k.txns.Load() != 2 {
		t.Errorf("%d reads were sent as %d single ones and %d batches, want 1 and 2", others+1, k.gets.Load(), k.txns.Load())
	}
}

// Batches are an economy: when one fails, each read is sent as if there were none.
func TestFailedBatchIsReadOneByOne(t *testing.T) {
	k := startBatched(t, 10)
	k.fails = true
	b := BatchReads(k)
	b.(*batcher).patience = time.Minute
	ask(t, k, b, 10)
	if k.txns.Load() != 1 || k.gets.Load() != 11 {
		t.Errorf("%d batches and %d single reads, want 1 and 11", k.txns.Load(), k.gets.Load())
	}
}

// silent answers no request before its context ends.
type silent struct {
	clientv3.KV
	gets int
}

func (s *silent) Get(ctx context.Context, _ string, _ ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if s.gets++; s.gets > 1 {
		return &clientv3.GetResponse{}, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

// A request that gets no answer, as from a member that is gone, holds the others for the patience of the first, and
// nobody for good.
func TestNobodyWaitsForASilentMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := BatchReads(&silent{})
		stuck, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _, _ = b.Get(stuck, "stuck") }()
		synctest.Wait()

		gone, leave := context.WithTimeout(t.Context(), patience/2)
		defer leave()
		started := time.Now()
		for i, want := range []struct {
			ctx   context.Context //nolint:containedctx // a case of the test
			after time.Duration
		}{{gone, patience / 2}, {t.Context(), patience * 3 / 2}, {t.Context(), patience * 3 / 2}} {
			if _, err := b.Get(want.ctx, "k"); err != nil {
				t.Fatal(err)
			}
			if waited := time.Since(started); waited != want.after {
				t.Errorf("read %d ended after %s, want %s", i, waited, want.after)
			}
		}
	})
}

// What was acknowledged before a read came is in its answer, batched or not.
func TestBatchedReadsAreLinearizable(t *testing.T) {
	k := startBatched(t, 1)
	close(k.release)
	b := BatchReads(k)
	if _, err := k.Put(t.Context(), "n", "0"); err != nil {
		t.Fatal(err)
	}
	var written atomic.Int64
	var readers sync.WaitGroup
	stop := make(chan struct{})
	writer := make(chan error, 1)
	go func() {
		for n := int64(1); ; n++ {
			select {
			case <-stop:
				writer <- nil
				return
			default:
			}
			if _, err := k.Put(t.Context(), "n", strconv.FormatInt(n, 10)); err != nil {
				writer <- err
				return
			}
			written.Store(n)
		}
	}()
	for range 16 {
		readers.Go(func() {
			for range 200 {
				before := written.Load()
				response, err := b.Get(t.Context(), "n")
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := strconv.ParseInt(string(response.Kvs[0].Value), 10, 64); err != nil || got < before {
					t.Errorf("read %d after %d was acknowledged: %v", got, before, err)
					return
				}
			}
		})
	}
	readers.Wait()
	close(stop)
	if err := <-writer; err != nil {
		t.Fatal(err)
	}
	if k.txns.Load() == 0 {
		t.Error("nothing was batched")
	}
	t.Logf("%d single reads, %d batches, %d writes", k.gets.Load(), k.txns.Load(), written.Load())
}
