// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"google.golang.org/grpc"
)

// drainTime is how long Stop waits for open requests of clients that should have gone before.
const drainTime = 500 * time.Millisecond

// ErrInUse is returned by Start when another process, or another Server of this one, holds the directory.
var ErrInUse = errors.New("in use by another etcd")

// Server is a running member.
type Server struct {
	etcd   *embed.Etcd
	grpc   *grpc.Server
	client *clientv3.Client
	hook   *hook
	socks  sockets
	lock   *fileutil.LockedFile

	stop     sync.Once
	stopping chan struct{}
	done     chan struct{}
	errs     chan error
}

// Start runs a member on cfg.Dir and returns once it serves reads and writes. ctx bounds the start only; Stop ends the member.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("finding etcd directory %s: %w", cfg.Dir, err)
	}
	cfg.Dir = dir
	if err := privateDir(dir); err != nil {
		return nil, err
	}
	// Without a lock of our own etcd would wait for the database's lock for ever.
	lock, err := fileutil.TryLockFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, fmt.Errorf("etcd directory %s: %w", dir, ErrInUse)
	} else if err != nil {
		return nil, fmt.Errorf("locking etcd directory %s: %w", dir, err)
	}
	socks, err := newSockets(ctx, dir)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s, err := launch(ctx, cfg, socks)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("starting etcd on %s: %w", dir, err), socks.remove(), lock.Close())
	}
	s.socks, s.lock = socks, lock
	if err := os.WriteFile(endpointFile(dir), []byte(socks.client+"\n"), 0o600); err != nil {
		go s.monitor()
		s.Stop()
		return nil, fmt.Errorf("writing where etcd is: %w", err)
	}
	go s.monitor()
	return s, nil
}

// privateDir creates dir, or makes sure that nobody else can reach the sockets in it.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("creating etcd directory %s: %w", dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("reading etcd directory %s: %w", dir, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("etcd directory %s is open to other users (mode %04o): run chmod 700 %[1]s", dir, info.Mode().Perm())
	}
	return nil
}

// launch starts the member and waits until it has a leader and a listener.
func launch(ctx context.Context, cfg Config, socks sockets) (*Server, error) {
	hook := newHook(cfg.quiet)
	registered := make(chan *grpc.Server, 1)
	started := make(chan *embed.Etcd, 1)
	ecfg := cfg.embedConfig(socks, hook.logger(cfg.logOutput()), func(g *grpc.Server) { registered <- g })
	go func() { // on a goroutine of its own because the hook may end it
		defer hook.recover()
		if e, err := embed.StartEtcd(ecfg); err != nil {
			hook.fail(err)
		} else {
			started <- e
		}
	}()

	var e *embed.Etcd
	for {
		select {
		case e = <-started:
		case g := <-registered: // follows readiness, and comes after started
			if e == nil {
				e = <-started
			}
			hook.phase.Store(serving)
			return newServer(e, g, hook), nil
		case err := <-hook.failed:
			return nil, err
		case <-ctx.Done():
			abandon(e, started, hook.failed)
			return nil, fmt.Errorf("waiting until it is ready: %w", context.Cause(ctx))
		}
	}
}

// abandon closes a member that is not wanted any more; StartEtcd has no context, so it has to come back first.
func abandon(e *embed.Etcd, started <-chan *embed.Etcd, failed <-chan error) {
	if e == nil {
		select {
		case e = <-started:
		case <-failed: //nolint:errcheck // the caller gave up and says why itself
			return
		}
	}
	e.Close()
}

func newServer(e *embed.Etcd, g *grpc.Server, h *hook) *Server {
	return &Server{
		etcd: e, grpc: g, client: v3client.New(e.Server), hook: h,
		stopping: make(chan struct{}), done: make(chan struct{}), errs: make(chan error, 1),
	}
}

// monitor reports an end that nobody asked for.
func (s *Server) monitor() {
	defer close(s.done)
	defer close(s.errs)
	select {
	case <-s.stopping:
	case err := <-s.etcd.Err():
		if err == nil {
			err = errors.New("listener closed")
		}
		s.errs <- fmt.Errorf("embedded etcd: %w", err)
	case <-s.etcd.Server.StopNotify():
		s.errs <- errors.New("embedded etcd stopped by itself, see its log")
	}
}

// Endpoints returns what belongs into --etcd-servers. No certificate is needed: see the package comment.
func (s *Server) Endpoints() []string { return []string{s.socks.client} }

// Client returns a client that calls the member in this process, without a socket. Stop closes it.
func (s *Server) Client() *clientv3.Client { return s.client }

// Err yields one error if the member ends by itself, and is closed when the member has ended for any reason.
func (s *Server) Err() <-chan error { return s.errs }

// Stop ends the member and returns when its data is closed. It may be called more than once. Stop the API server first:
// requests still open are cut after half a second.
func (s *Server) Stop() {
	s.stop.Do(func() {
		s.hook.phase.Store(stopping)
		close(s.stopping)
		<-s.done
		_ = s.client.Close() // reports only that its context ended
		cut := time.AfterFunc(drainTime, s.grpc.Stop)
		s.grpc.GracefulStop()
		cut.Stop()
		s.etcd.Close()
		_ = s.socks.remove() // a leftover directory holds nothing
		_ = s.lock.Close()   // nothing is buffered in it
	})
}
