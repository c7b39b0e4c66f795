// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"slices"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Reasons for refusing writes while reads continue. The texts are shown to clients.
var (
	// ErrDiskFull is returned while the disk has less free space than the margin.
	ErrDiskFull = errors.New("the disk of the database is nearly full")
	// ErrDatabaseFull stands for etcd's own error: its database has reached its quota.
	ErrDatabaseFull = errors.New("the database is full (database space exceeded)")
)

// NoRoom returns ErrDiskFull or ErrDatabaseFull if err is a write refused for lack of space, and nil for any other
// error.
func NoRoom(err error) error {
	switch {
	case errors.Is(err, ErrDiskFull):
		return ErrDiskFull
	case errors.Is(err, rpctypes.ErrNoSpace), errors.Is(err, rpctypes.ErrGRPCNoSpace):
		return ErrDatabaseFull
	default:
		return nil
	}
}

// call classifies calls to etcd by what they take from the disk.
type call int

const (
	read call = iota
	// housekeeping is a small write that frees space or must not wait for it: see Reserved.
	housekeeping
	write // any other
)

type reserved struct{}

// Reserved marks the writes of a context as housekeeping, which is allowed on a nearly full disk. Deletes and
// compactions always are.
func Reserved(ctx context.Context) context.Context { return context.WithValue(ctx, reserved{}, true) }

// newGate returns a kv that calls allow before each call and returns its error.
func newGate(kv clientv3.KV, allow func(call) error) clientv3.KV { return &gate{kv: kv, allow: allow} }

type gate struct {
	kv    clientv3.KV
	allow func(call) error
}

// Put implements clientv3.KV.
func (g *gate) Put(ctx context.Context, key, value string, opts ...clientv3.OpOption) (*clientv3.PutResponse, error) {
	if err := g.allow(callOf(ctx, clientv3.OpPut(key, ""))); err != nil {
		return nil, err
	}
	return g.kv.Put(ctx, key, value, opts...)
}

// Get implements clientv3.KV.
func (g *gate) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	if err := g.allow(read); err != nil {
		return nil, err
	}
	return g.kv.Get(ctx, key, opts...)
}

// GetStream implements clientv3.KV.
func (g *gate) GetStream(ctx context.Context, key string, opts ...clientv3.OpOption) (clientv3.GetStreamChan, error) {
	if err := g.allow(read); err != nil {
		return nil, err
	}
	return g.kv.GetStream(ctx, key, opts...)
}

// Delete implements clientv3.KV.
func (g *gate) Delete(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.DeleteResponse, error) {
	if err := g.allow(housekeeping); err != nil {
		return nil, err
	}
	return g.kv.Delete(ctx, key, opts...)
}

// Compact implements clientv3.KV.
func (g *gate) Compact(
	ctx context.Context, rev int64, opts ...clientv3.CompactOption,
) (*clientv3.CompactResponse, error) {
	if err := g.allow(housekeeping); err != nil {
		return nil, err
	}
	return g.kv.Compact(ctx, rev, opts...)
}

// Do implements clientv3.KV.
func (g *gate) Do(ctx context.Context, op clientv3.Op) (clientv3.OpResponse, error) {
	if err := g.allow(callOf(ctx, op)); err != nil {
		return clientv3.OpResponse{}, err
	}
	return g.kv.Do(ctx, op)
}

// Txn implements clientv3.KV.
func (g *gate) Txn(ctx context.Context) clientv3.Txn {
	return &gatedTxn{Txn: g.kv.Txn(ctx), ctx: ctx, allow: g.allow}
}

type gatedTxn struct {
	clientv3.Txn
	ctx   context.Context //nolint:containedctx // that of Txn
	allow func(call) error
	call  call
}

// If implements clientv3.Txn.
func (t *gatedTxn) If(comparisons ...clientv3.Cmp) clientv3.Txn {
	t.Txn = t.Txn.If(comparisons...)
	return t
}

// Then implements clientv3.Txn.
func (t *gatedTxn) Then(ops ...clientv3.Op) clientv3.Txn {
	t.Txn, t.call = t.Txn.Then(ops...), max(t.call, callOf(t.ctx, ops...))
	return t
}

// Else implements clientv3.Txn.
func (t *gatedTxn) Else(ops ...clientv3.Op) clientv3.Txn {
	t.Txn, t.call = t.Txn.Else(ops...), max(t.call, callOf(t.ctx, ops...))
	return t
}

// Commit implements clientv3.Txn.
func (t *gatedTxn) Commit() (*clientv3.TxnResponse, error) {
	if err := t.allow(t.call); err != nil {
		return nil, err
	}
	return t.Txn.Commit()
}

// callOf returns the highest class among ops.
func callOf(ctx context.Context, ops ...clientv3.Op) call {
	call := read
	for _, op := range ops {
		switch {
		case op.IsTxn():
			_, then, otherwise := op.Txn()
			call = max(call, callOf(ctx, slices.Concat(then, otherwise)...))
		case op.IsDelete(), op.IsPut() && (ctx.Value(reserved{}) != nil || string(op.KeyBytes()) == compactRevKey):
			call = max(call, housekeeping)
		case op.IsPut():
			call = write
		}
	}
	return call
}
