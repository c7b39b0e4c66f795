// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync/atomic"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/httpguard"
	"github.com/securevalue/secret-apiserver/pkg/internal/nodump"
	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/reload"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

// server is one run of the process:
//
//	listen      open both ports, before anything is written: a port in use changes nothing
//	load        read every file that a flag names: an invalid file changes nothing
//	standalone  lock and fill the data folder, start the embedded etcd (standalone.go)
//	wire        join everything into the configuration of the API server (wire.go)
//	serve       until the context ends
//	close       the decrypt port, the connection to etcd, the embedded etcd, the data folder
type server struct {
	opts     options.CompletedOptions
	listener net.Listener
	decrypt  *decryptPort // nil when it is off
	inputs   *inputs
	etcd     etcdConnection
	keys     *keys.Provider
	notices  notices
	// announced ends the announcement of this server, once there is one.
	announced atomic.Pointer[func()]

	servingCA        string // file of the CA that issued a generated serving certificate
	generateAuditKey bool
}

// errAbandoned is returned for a start that was stopped while it waited for something that cannot be cancelled. What it
// holds is still in use and is released by the end of the process.
var errAbandoned = fmt.Errorf("stopped during the start: %w", context.Canceled)

// Run serves until ctx ends and returns when everything is closed. The banner of a standalone server is written to out
// once it is ready. Run returns nil when ctx ended before that.
func Run(ctx context.Context, opts options.CompletedOptions, out io.Writer) error {
	reload.CatchHangup()
	letHeapGrow()
	if err := nodump.Forbid(); err != nil {
		return err
	}
	syscall.Umask(0o077) // 0277 would create files that a second start cannot write

	_ = legacyregistry.Registerer().Register(version.BuildInfo()) // fails in a second run in one process
	err := run(ctx, opts, out)
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled) {
		klog.InfoS("Stopped during the start")
		return nil
	}
	return err
}

func run(ctx context.Context, opts options.CompletedOptions, out io.Writer) (err error) {
	s := &server{opts: opts}
	if err := s.listen(ctx); err != nil {
		return err
	}
	// The generic server closes the listener too; this is for errors before it runs.
	defer func() { _ = s.listener.Close() }()
	defer s.close(&err)
	if opts.Standalone.Enabled {
		return s.runStandalone(ctx, out)
	}
	return s.runAggregated(ctx)
}

// listen opens both ports.
func (s *server) listen(ctx context.Context) (err error) {
	bind := s.opts.Serving.BindAddress
	s.listener, err = listenOn(ctx, bind, strconv.Itoa(s.opts.Serving.BindPort),
		"choose another --secure-port or --bind-address")
	if err != nil {
		return err
	}
	s.opts.Serving.Listener = s.listener
	if !s.opts.Decrypt.Enabled() {
		return nil
	}
	listener, err := listenOn(ctx, bind, s.opts.Decrypt.ListenPort(), "choose another --decrypt-port, or 0 for none")
	if err != nil {
		return errors.Join(err, s.listener.Close())
	}
	s.decrypt = &decryptPort{listener: listener}
	return nil
}

func listenOn(ctx context.Context, bind net.IP, port, hint string) (net.Listener, error) {
	address := net.JoinHostPort(bind.String(), port)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w; %s", address, err, hint)
	}
	return httpguard.NewListener(listener), nil
}

// runAggregated serves behind the kube-apiserver of a cluster and keeps no state.
func (s *server) runAggregated(ctx context.Context) (err error) {
	if s.inputs, err = s.load(ctx, nil); err != nil {
		return err
	}
	return s.serve(ctx, func() {
		klog.InfoS("Ready", "address", s.listener.Addr().String(), "decrypt", s.decrypt.address())
	})
}

// serve runs the API server until ctx ends. ready is called in another goroutine once all readiness checks pass.
func (s *server) serve(ctx context.Context, ready func()) (err error) {
	defer s.close(&err) // before the embedded etcd is stopped
	generic, err := s.build(ctx)
	if err != nil {
		return err
	}
	generic.ShutdownTimeout = connectionGrace
	prepared := generic.PrepareRun()
	loopback := generic.LoopbackClientConfig
	if s.opts.Standalone.Enabled {
		defer startFreeing(ctx, loopback)()
		defer startRewrap(ctx, loopback, s.opts.Standalone)()
	}
	go func() {
		if waitReady(ctx, loopback) == nil { // an error means that the server stops, which RunWithContext reports
			ready()
		}
	}()
	return prepared.RunWithContext(ctx)
}

// build creates the API server. It waits for an etcd that does not answer, which cannot be cancelled: see errAbandoned.
func (s *server) build(ctx context.Context) (*genericapiserver.GenericAPIServer, error) {
	type result struct {
		generic *genericapiserver.GenericAPIServer
		err     error
	}
	built := make(chan result, 1)
	go func() {
		config, err := s.wire() //nolint:contextcheck // a hook gets its context when it runs
		if err == nil {
			err = s.compareKeys(ctx)
		}
		if err != nil {
			built <- result{nil, err}
			return
		}
		generic, err := config.Complete().New()
		built <- result{generic, err}
	}()
	select {
	case <-ctx.Done():
		return nil, errAbandoned
	case done := <-built:
		if errors.Is(done.err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("no answer from --etcd-servers %s: %w", s.opts.Storage.ServerNames(), done.err)
		}
		return done.generic, done.err
	}
}

// close closes what uses etcd. It may be called more than once.
func (s *server) close(err *error) {
	if !errors.Is(*err, errAbandoned) {
		s.decrypt.close()
		if end := s.announced.Load(); end != nil {
			(*end)()
		}
		s.etcd.close()
	}
}
