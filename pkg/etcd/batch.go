// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// maxReads bounds a batch; etcd takes 128 operations unless --max-txn-ops says otherwise.
	maxReads = 64
	// patience is how long a read waits for a batch before it goes on its own. It matters only while a member of etcd does not answer.
	patience = 100 * time.Millisecond
	// batchTimeout ends a batch that nobody waits for any more.
	batchTimeout = time.Second
)

// BatchReads returns kv with one difference: a Get of a single key, at no particular revision, that comes while another one is under way
// waits for it, and is sent together with the others that wait: the request around a small read costs more CPU time than the
// read, on either side. It is as linearizable as it was: it is sent after it came; and etcd itself lets such reads wait for
// each other, since one question to the leader answers all that came before it. A batch that fails is sent again read by
// read, so that errors and retries are those of a Get.
func BatchReads(kv clientv3.KV) clientv3.KV {
	return &batcher{KV: kv, patience: patience}
}

type batcher struct {
	clientv3.KV
	patience time.Duration

	mutex sync.Mutex
	// underWay is the number of the request that the others wait for; 0 when there is none. last counts them.
	underWay, last uint64
	waiting        []*read
}

type read struct {
	ctx    context.Context //nolint:containedctx // of the caller, who waits
	op     clientv3.Op
	answer chan *clientv3.GetResponse // nil: ask by yourself
}

// Get implements clientv3.KV.
func (b *batcher) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	op := clientv3.OpGet(key, opts...)
	if op.RangeBytes() != nil || op.Rev() != 0 || op.IsSerializable() {
		return b.KV.Get(ctx, key, opts...)
	}
	b.mutex.Lock()
	first := b.underWay
	if first == 0 {
		number := b.start()
		b.mutex.Unlock()
		defer b.done(number) //nolint:contextcheck // what it sends is for other callers
		return b.KV.Get(ctx, key, opts...)
	}
	r := &read{ctx: ctx, op: op, answer: make(chan *clientv3.GetResponse, 1)}
	b.waiting = append(b.waiting, r)
	b.mutex.Unlock()
	if response := b.wait(r, first); response != nil { //nolint:contextcheck // as above
		return response, nil
	}
	return b.KV.Get(ctx, key, opts...)
}

// wait returns the answer of a batch, or nil.
func (b *batcher) wait(r *read, first uint64) *clientv3.GetResponse {
	timer := time.NewTimer(b.patience)
	defer timer.Stop()
	select {
	case response := <-r.answer:
		return response
	case <-r.ctx.Done():
		b.withdraw(r)
	case <-timer.C:
		b.withdraw(r)
		b.done(first) // it may never end: let the others go on
	}
	return nil
}

func (b *batcher) withdraw(r *read) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.waiting = slices.DeleteFunc(b.waiting, func(other *read) bool { return other == r })
}

// start is called with the mutex held.
func (b *batcher) start() uint64 {
	b.last++
	b.underWay = b.last
	return b.last
}

// done sends what waited for a request, unless somebody has already given it up.
func (b *batcher) done(number uint64) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.underWay != number {
		return
	}
	b.underWay = 0
	if n := min(len(b.waiting), maxReads); n > 0 {
		batch := slices.Clone(b.waiting[:n])
		b.waiting = slices.Delete(b.waiting, 0, n)
		go b.send(b.start(), batch)
	}
}

func (b *batcher) send(number uint64, batch []*read) {
	defer b.done(number)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(batch[0].ctx), batchTimeout)
	defer cancel()
	ops := make([]clientv3.Op, len(batch))
	for i, r := range batch {
		ops[i] = r.op
	}
	response, err := b.KV.Txn(ctx).Then(ops...).Commit()
	for i, r := range batch {
		if err != nil || len(response.Responses) != len(batch) {
			r.answer <- nil
			continue
		}
		got := (*clientv3.GetResponse)(response.Responses[i].GetResponseRange())
		if got != nil {
			got.Header = response.Header
		}
		r.answer <- got
	}
}
