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

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"google.golang.org/grpc"
)

// drainTime is how long Stop waits for open requests.
const drainTime = 500 * time.Millisecond

// ErrInUse is returned by Start when another process, or another Server in this process, holds the directory.
var ErrInUse = errors.New("in use by another etcd")

// Server is a running member.
type Server struct {
	etcd   *embed.Etcd
	grpc   *grpc.Server
	client *clientv3.Client // behind the gate
	raw    *clientv3.Client // without the gate
	upkeep *upkeep          // nil for a tool
	hook   *hook
	socks  sockets
	lock   *fileutil.LockedFile
	// snapshots is read-locked while a snapshot is sent.
	snapshots *sync.RWMutex

	stop     sync.Once
	stopping chan struct{}
	done     chan struct{}
	errs     chan error
}

// Start runs a member on cfg.Dir and returns once it serves reads and writes. ctx bounds the start only; Stop stops the
// member.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("finding etcd directory %s: %w", cfg.Dir, err)
	}
	cfg.Dir = dir
	if err := privateDir(dir); err != nil {
		return nil, err
	}
	// Without this lock etcd would wait for the lock of the database without a limit.
	lock, err := fileutil.TryLockFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if errors.Is(err, fileutil.ErrLocked) {
		return nil, fmt.Errorf("etcd directory %s: %w", dir, ErrInUse)
	} else if err != nil {
		return nil, fmt.Errorf("locking etcd directory %s: %w", dir, err)
	}
	if err := MakeRoom(dir); err != nil {
		return nil, errors.Join(err, lock.Close())
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
	go s.monitor()
	err = publishEndpoint(dir, socks.client)
	if err == nil && cfg.Upkeep != nil {
		err = s.startUpkeep(dir, *cfg.Upkeep) //nolint:contextcheck // it lives as long as the member
	}
	if err != nil {
		s.Stop()
		return nil, err
	}
	return s, nil
}

// endpointFile tells tools where the member that runs in dir listens: its socket may be in another directory.
func endpointFile(dir string) string { return filepath.Join(dir, "endpoint") }

// publishEndpoint does not write an unchanged endpoint: the disk may be full.
func publishEndpoint(dir, endpoint string) error {
	if old, err := os.ReadFile(endpointFile(dir)); err == nil && string(old) == endpoint+"\n" {
		return nil
	}
	if err := os.WriteFile(endpointFile(dir), []byte(endpoint+"\n"), 0o600); err != nil {
		return fmt.Errorf("writing the endpoint of etcd: %w", err)
	}
	return nil
}

// privateDir creates dir, or checks that other users cannot reach the sockets in it.
func privateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("creating etcd directory %s: %w", dir, err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("reading etcd directory %s: %w", dir, err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("etcd directory %s is open to other users (mode %04o): run chmod 700 %[1]s", dir,
			info.Mode().Perm())
	}
	return nil
}

// launch starts the member and waits until it has a leader and a listener.
func launch(ctx context.Context, cfg Config, socks sockets) (*Server, error) {
	hook := newHook(cfg.quiet)
	registered := make(chan *grpc.Server, 1)
	started := make(chan *embed.Etcd, 1)
	ecfg := cfg.embedConfig(socks, hook.logger(cfg.logOutput()), func(g *grpc.Server) { registered <- g })
	snapshots := &sync.RWMutex{}
	ecfg.GRPCAdditionalServerOptions = []grpc.ServerOption{grpc.ChainStreamInterceptor(holdDuringSnapshot(snapshots))}
	go func() { // the hook may end this goroutine
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
		case g := <-registered: // comes once it is ready, after started
			if e == nil {
				e = <-started
			}
			hook.phase.Store(serving)
			return newServer(e, g, hook, snapshots), nil
		case err := <-hook.failed:
			return nil, err
		case <-ctx.Done():
			abandon(e, started, hook.failed)
			return nil, fmt.Errorf("waiting until it is ready: %w", context.Cause(ctx))
		}
	}
}

// abandon closes a member whose start was cancelled; StartEtcd has no context, so it has to return first.
func abandon(e *embed.Etcd, started <-chan *embed.Etcd, failed <-chan error) {
	if e == nil {
		select {
		case e = <-started:
		case <-failed: //nolint:errcheck // the caller returns its own error
			return
		}
	}
	e.Close()
}

// holdDuringSnapshot prevents a defragmentation during a snapshot: it would wait for the end of it with the database
// locked.
func holdDuringSnapshot(snapshots *sync.RWMutex) grpc.StreamServerInterceptor {
	return func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if info.FullMethod == pb.Maintenance_Snapshot_FullMethodName {
			snapshots.RLock()
			defer snapshots.RUnlock()
		}
		return handler(srv, stream)
	}
}

func newServer(e *embed.Etcd, g *grpc.Server, h *hook, snapshots *sync.RWMutex) *Server {
	client := v3client.New(e.Server)
	return &Server{
		etcd: e, grpc: g, client: client, raw: client, hook: h, snapshots: snapshots,
		stopping: make(chan struct{}), done: make(chan struct{}), errs: make(chan error, 1),
	}
}

// monitor reports when the member stops without Stop.
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

// Endpoints returns the value for --etcd-servers. It needs no certificate: see the package comment.
func (s *Server) Endpoints() []string { return []string{s.socks.client} }

// Client returns a client that calls the member in this process, without a socket. With Config.Upkeep its writes fail
// with an error for NoRoom while the disk is nearly full. Stop closes it.
func (s *Server) Client() *clientv3.Client { return s.client }

// Err yields one error if the member stops by itself, and is closed when the member has stopped for any reason.
func (s *Server) Err() <-chan error { return s.errs }

// Stop stops the member and returns when its data is closed. It may be called more than once. Stop the API server
// first: open requests are cancelled after drainTime.
func (s *Server) Stop() {
	s.stop.Do(func() {
		s.hook.phase.Store(stopping)
		close(s.stopping)
		<-s.done
		if s.upkeep != nil {
			s.upkeep.close()
		}
		_ = s.raw.Close() // returns only the error of its context
		cut := time.AfterFunc(drainTime, s.grpc.Stop)
		s.grpc.GracefulStop()
		cut.Stop()
		s.etcd.Close()
		if s.upkeep != nil { // etcd has freed a segment of its log
			_ = keepReserve(s.upkeep.disk.dir, reserveBytes, leastReserve) // a smaller reserve at worst
		}
		_ = s.socks.remove() // a leftover directory holds nothing
		_ = s.lock.Close()   // nothing is buffered in it
	})
}
