// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// held is an etcd without data that holds its first Get until it is told to answer, and each transaction until then or
// until its context ends.
type held struct {
	clientv3.KV
	get, txn   chan struct{}
	gets, txns int // read while every other goroutine waits
}

func newHeld() *held { return &held{get: make(chan struct{}), txn: make(chan struct{})} }

func (h *held) Get(ctx context.Context, _ string, _ ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if h.gets++; h.gets == 1 {
		<-h.get
	}
	return &clientv3.GetResponse{}, ctx.Err()
}

func (h *held) Txn(ctx context.Context) clientv3.Txn {
	h.txns++
	return &heldTxn{ctx: ctx, release: h.txn}
}

type heldTxn struct {
	clientv3.Txn
	ctx     context.Context //nolint:containedctx // as in a transaction of the client
	release chan struct{}
	ops     []clientv3.Op
}

func (h *heldTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	h.ops = ops
	return h
}

func (h *heldTxn) Commit() (*clientv3.TxnResponse, error) {
	select {
	case <-h.ctx.Done():
		return nil, h.ctx.Err()
	case <-h.release:
	}
	response := &clientv3.TxnResponse{}
	for range h.ops {
		response.Responses = append(response.Responses, &etcdserverpb.ResponseOp{
			Response: &etcdserverpb.ResponseOp_ResponseRange{ResponseRange: &etcdserverpb.RangeResponse{}},
		})
	}
	return response, nil
}

// begin starts a read and returns once it waits or has its answer.
func begin(ctx context.Context, b clientv3.KV, opts ...clientv3.OpOption) <-chan error {
	answer := make(chan error, 1)
	go func() {
		_, err := b.Get(ctx, "k", opts...)
		answer <- err
	}()
	synctest.Wait()
	return answer
}

func answered(answer <-chan error) bool { return len(answer) > 0 }

// Only what asks for the present state of one key may wait for other reads: here it would do so for an hour.
func TestOtherReadsAreNotBatched(t *testing.T) {
	for name, test := range map[string]struct {
		opts  []clientv3.OpOption
		waits bool
	}{
		"one key":          {nil, true},
		"one key, options": {[]clientv3.OpOption{clientv3.WithLimit(1), clientv3.WithKeysOnly()}, true},
		"prefix":           {[]clientv3.OpOption{clientv3.WithPrefix()}, false},
		"range":            {[]clientv3.OpOption{clientv3.WithRange("z")}, false},
		"from a key on":    {[]clientv3.OpOption{clientv3.WithFromKey()}, false},
		"revision":         {[]clientv3.OpOption{clientv3.WithRev(2)}, false},
		"serializable":     {[]clientv3.OpOption{clientv3.WithSerializable()}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				etcd := newHeld()
				b := &batcher{KV: etcd, patience: time.Hour}
				begin(t.Context(), b)
				if answer := begin(t.Context(), b, test.opts...); answered(answer) == test.waits {
					t.Errorf("it waits for another read: %v, want %v", !answered(answer), test.waits)
				}
				close(etcd.get)
				close(etcd.txn)
				synctest.Wait()
				if batched := etcd.txns > 0; batched != test.waits {
					t.Errorf("%d batches and %d single reads", etcd.txns, etcd.gets)
				}
			})
		})
	}
}

// The caller who came first to a batch may leave: the others get the answer of the batch, and send nothing by
// themselves.
func TestBatchOutlivesItsFirstCaller(t *testing.T) {
	for name, bound := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"hung up": context.WithCancel,
		"too late": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, batchTimeout/4)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				etcd := newHeld()
				b := &batcher{KV: etcd, patience: time.Hour}
				begin(t.Context(), b)
				ctx, leave := bound(t.Context())
				defer leave()
				first, other := begin(ctx, b), begin(t.Context(), b)
				close(etcd.get)
				synctest.Wait()
				if name == "hung up" {
					leave()
				}
				if err := <-first; err == nil {
					t.Error("the first caller got an answer")
				}
				synctest.Wait()
				if etcd.txns != 1 || answered(other) {
					t.Errorf("%d batches; the other caller waits: %v", etcd.txns, !answered(other))
				}
				close(etcd.txn)
				if err := <-other; err != nil || etcd.gets != 2 {
					t.Errorf("%v; %d single reads, want those of the first callers", err, etcd.gets)
				}
			})
		})
	}
}

// A batch without an answer ends, detached as it is, and its reads are sent one by one.
func TestSilentBatchEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		etcd := newHeld()
		b := &batcher{KV: etcd, patience: time.Hour}
		begin(t.Context(), b)
		answer := begin(t.Context(), b)
		started := time.Now()
		close(etcd.get)
		if err := <-answer; err != nil {
			t.Error(err)
		}
		if took := time.Since(started); took != batchTimeout {
			t.Errorf("after %s of the bubble, want %s", took, batchTimeout)
		}
		close(etcd.txn)
	})
}
