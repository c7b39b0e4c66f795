// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// probePeriod is how often readiness is asked; the probes of deploy/ ask less often.
const probePeriod = 200 * time.Millisecond

// balancer is the Service: it gives each new connection to a replica that is ready, and leaves those that exist alone.
type balancer struct {
	listener net.Listener
	client   *http.Client
	stop     context.CancelFunc
	done     sync.WaitGroup

	mutex    sync.Mutex
	replicas []*Replica
	ready    []*Replica
	next     int
}

// newBalancer listens on a loopback port and probes the replicas with the given client.
func newBalancer(ctx context.Context, port int, client *http.Client, replicas []*Replica) (*balancer, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b := &balancer{listener: listener, client: client, stop: cancel, replicas: replicas}
	b.done.Go(func() { b.probe(ctx) })
	b.done.Go(func() { b.accept(ctx) })
	return b, nil
}

func (b *balancer) close() {
	b.stop()
	_ = b.listener.Close()
	b.done.Wait()
}

// probe keeps the list of those that are ready.
func (b *balancer) probe(ctx context.Context) {
	tick := time.NewTicker(probePeriod)
	defer tick.Stop()
	for {
		var ready []*Replica
		for _, replica := range b.replicas {
			if replica.Ready(ctx, b.client) == nil {
				ready = append(ready, replica)
			}
		}
		b.mutex.Lock()
		b.ready = ready
		b.mutex.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (b *balancer) accept(ctx context.Context) {
	for {
		connection, err := b.listener.Accept()
		if err != nil {
			return // closed
		}
		b.done.Go(func() { b.serve(ctx, connection) })
	}
}

// serve copies both ways until one side ends. Without a ready replica the connection is closed, as one to a Service
// without endpoints is refused.
func (b *balancer) serve(ctx context.Context, client net.Conn) {
	defer func() { _ = client.Close() }()
	replica := b.pick()
	if replica == nil {
		return
	}
	server, err := new(net.Dialer).DialContext(ctx, "tcp", replica.address)
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	defer context.AfterFunc(ctx, func() { _ = client.Close(); _ = server.Close() })()
	var copies sync.WaitGroup
	copies.Go(func() { transfer(server, client) })
	copies.Go(func() { transfer(client, server) })
	copies.Wait()
}

// transfer copies until from ends and says so to the other side.
func transfer(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	_ = to.(*net.TCPConn).CloseWrite()
}

func (b *balancer) pick() *Replica {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if len(b.ready) == 0 {
		return nil
	}
	b.next++
	return b.ready[b.next%len(b.ready)]
}
