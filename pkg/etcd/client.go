// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/component-base/tracing"
)

// DialTimeout is how long a start waits for a connection. It and the keepalive settings are those of k8s.io/apiserver.
const DialTimeout = 20 * time.Second

const (
	keepAlive        = 30 * time.Second
	keepAliveTimeout = 10 * time.Second
)

// New returns a client without waiting for a connection: calls fail while etcd is unreachable. Errors are returned and
// not logged as well. Calls are traced if config has a TracerProvider. The caller closes the client.
func New(config storagebackend.TransportConfig) (*clientv3.Client, error) {
	secure, err := clientTLS(config)
	if err != nil {
		return nil, err
	}
	var options []grpc.DialOption
	if config.TracerProvider != nil {
		options = append(options, grpc.WithStatsHandler(otelgrpc.NewClientHandler(
			otelgrpc.WithTracerProvider(config.TracerProvider), otelgrpc.WithPropagators(tracing.Propagators()))))
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: config.ServerList, TLS: secure, Logger: zap.NewNop(), DialOptions: options,
		DialTimeout: DialTimeout, DialKeepAliveTime: keepAlive, DialKeepAliveTimeout: keepAliveTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("creating a client of etcd: %w", err)
	}
	return client, nil
}

// WaitConnected returns once a client has a connection, or an error when ctx ends. A connection to a member without a
// leader counts: the server then becomes ready later.
func WaitConnected(ctx context.Context, client *clientv3.Client) error {
	conn := client.ActiveConnection()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.Idle {
			conn.Connect()
		}
		if !conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf(
				"no connection to --etcd-servers %s: check that etcd runs there and that --etcd-cafile, "+
					"--etcd-certfile and --etcd-keyfile are correct: %w",
				strings.Join(client.Endpoints(), ","),
				ctx.Err(),
			)
		}
	}
	return nil
}

// clientTLS is nil for an etcd without TLS.
func clientTLS(config storagebackend.TransportConfig) (*tls.Config, error) {
	info := transport.TLSInfo{CertFile: config.CertFile, KeyFile: config.KeyFile, TrustedCAFile: config.TrustedCAFile}
	if info.CertFile == "" && info.KeyFile == "" && info.TrustedCAFile == "" {
		return nil, nil //nolint:nilnil // as clientv3 expects
	}
	secure, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading --etcd-cafile, --etcd-certfile and --etcd-keyfile: %w", err)
	}
	return secure, nil
}

const (
	// maxReads bounds a batch; etcd allows 128 operations by default (--max-txn-ops).
	maxReads = 64
	// patience is how long a Get waits for a batch before it is sent alone. It matters only while a member does not
	// answer.
	patience = 100 * time.Millisecond
	// batchTimeout ends a batch whose callers have all given up.
	batchTimeout = time.Second
)

// BatchReads coalesces linearizable Gets of single keys: while one request is in flight, later Gets queue and are sent
// as one read-only transaction. The RPC costs more CPU than the read itself. Each Get stays linearizable, since it is
// sent after it was called. The Gets of a failed batch are sent again one by one, so that errors and retries are those
// of a Get.
func BatchReads(kv clientv3.KV) clientv3.KV {
	return &batcher{KV: kv, patience: patience}
}

type batcher struct {
	clientv3.KV
	patience time.Duration

	mutex sync.Mutex
	// inFlight is the number of the request that others wait for, 0 for none. last is the highest number so far.
	inFlight, last uint64
	waiting        []*pendingGet
}

type pendingGet struct {
	ctx    context.Context //nolint:containedctx // of the waiting caller
	op     clientv3.Op
	answer chan *clientv3.GetResponse // nil: send the Get alone
}

// Get implements clientv3.KV.
func (b *batcher) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	op := clientv3.OpGet(key, opts...)
	if op.RangeBytes() != nil || op.Rev() != 0 || op.IsSerializable() {
		return b.KV.Get(ctx, key, opts...)
	}
	b.mutex.Lock()
	first := b.inFlight
	if first == 0 {
		number := b.start()
		b.mutex.Unlock()
		defer b.done(number) //nolint:contextcheck // what it sends is for other callers
		return b.KV.Get(ctx, key, opts...)
	}
	r := &pendingGet{ctx: ctx, op: op, answer: make(chan *clientv3.GetResponse, 1)}
	b.waiting = append(b.waiting, r)
	b.mutex.Unlock()
	if response := b.wait(r, first); response != nil { //nolint:contextcheck // as above
		return response, nil
	}
	return b.KV.Get(ctx, key, opts...)
}

// wait returns the response of a batch, or nil.
func (b *batcher) wait(r *pendingGet, first uint64) *clientv3.GetResponse {
	timer := time.NewTimer(b.patience)
	defer timer.Stop()
	select {
	case response := <-r.answer:
		return response
	case <-r.ctx.Done():
		b.withdraw(r)
	case <-timer.C:
		b.withdraw(r)
		b.done(first) // it may never end, and must not block others
	}
	return nil
}

func (b *batcher) withdraw(r *pendingGet) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	b.waiting = slices.DeleteFunc(b.waiting, func(other *pendingGet) bool { return other == r })
}

// start is called with the mutex held.
func (b *batcher) start() uint64 {
	b.last++
	b.inFlight = b.last
	return b.last
}

// done sends the Gets that waited for request number, unless another caller gave up on it before.
func (b *batcher) done(number uint64) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if b.inFlight != number {
		return
	}
	b.inFlight = 0
	if n := min(len(b.waiting), maxReads); n > 0 {
		batch := slices.Clone(b.waiting[:n])
		b.waiting = slices.Delete(b.waiting, 0, n)
		go b.send(b.start(), batch)
	}
}

func (b *batcher) send(number uint64, batch []*pendingGet) {
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
