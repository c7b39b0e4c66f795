// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"context"
	"net"
	"strings"
	"sync"
	"time"
)

// proxy is the way between one server and one etcd member, which can be slowed down and cut.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	delay time.Duration
	cut   bool
	conns map[net.Conn]bool
}

func newProxy(ctx context.Context, target string) (*proxy, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{listener: listener, target: strings.TrimPrefix(target, "http://"), conns: map[net.Conn]bool{}}
	go p.serve(ctx)
	return p, nil
}

func (p *proxy) url() string { return "http://" + p.listener.Addr().String() }

func (p *proxy) serve(ctx context.Context) {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		go p.connect(ctx, conn)
	}
}

func (p *proxy) connect(ctx context.Context, client net.Conn) {
	var dialer net.Dialer
	member, err := dialer.DialContext(ctx, "tcp", p.target)
	if err != nil || !p.keep(client, member) {
		_ = client.Close()
		if member != nil {
			_ = member.Close()
		}
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.copy(member, client) })
	both.Go(func() { p.copy(client, member) })
	both.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, member)
}

// keep remembers both ends of a connection unless the way is cut.
func (p *proxy) keep(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		p.conns[conn] = true
	}
	return !p.cut
}

// copy hands on what it reads, later while there is a delay, until either end is closed.
func (p *proxy) copy(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		delay := p.delay
		p.mu.Unlock()
		time.Sleep(delay)
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) slow(delay time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = delay
}

// sever cuts every connection and refuses new ones, or lets them through again.
func (p *proxy) sever(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	for conn := range p.conns {
		if cut {
			_ = conn.Close()
		}
	}
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.sever(true)
}
