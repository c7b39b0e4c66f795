// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	genericapiserver "k8s.io/apiserver/pkg/server"
	restclient "k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/reload"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

// errAbandoned is why a start did not end: it was told to stop while it waited for something that cannot be told. What it holds is
// in use then, and the end of the process frees it.
var errAbandoned = fmt.Errorf("stopped during the start: %w", context.Canceled)

// Run serves until ctx ends and returns when everything is closed. The banner of a standalone server goes to out once
// it is ready. It returns nil when it was told to stop before that, and nothing was wrong.
func Run(ctx context.Context, opts options.CompletedOptions, out io.Writer) error {
	reload.CatchHangup()
	letHeapGrow()
	if err := forbidDumps(); err != nil {
		return err
	}
	syscall.Umask(0o077)                                          // whatever the caller's takes away: 0277 would make files that a second start cannot write
	_ = legacyregistry.Registerer().Register(version.BuildInfo()) // a second run in one process finds it there
	err := run(ctx, opts, out)
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled) {
		klog.InfoS("Stopped during the start")
		return nil
	}
	return err
}

func run(ctx context.Context, opts options.CompletedOptions, out io.Writer) (err error) {
	listener, err := opts.Serving.Listen(ctx)
	if err != nil {
		return err
	}
	// The generic server closes the listener too; this is for the ways out before it has it.
	defer func() { _ = listener.Close() }()
	if err := opts.Decrypt.Listen(ctx, opts.Serving.BindAddress()); err != nil {
		return err
	}
	defer closeUnlessAbandoned(opts, &err)
	if opts.Standalone.Enabled {
		return runStandalone(ctx, opts, listener, out)
	}
	return runAggregated(ctx, opts, listener)
}

func closeUnlessAbandoned(opts options.CompletedOptions, err *error) {
	if !errors.Is(*err, errAbandoned) {
		opts.Decrypt.Close()
		opts.Storage.Close()
	}
}

// serve runs the API server until ctx ends. ready is called in a goroutine of its own once every readiness check has
// passed.
func serve(ctx context.Context, opts options.CompletedOptions, inputs *options.Inputs, ready func()) (err error) {
	defer closeUnlessAbandoned(opts, &err) // before etcd is stopped
	server, err := build(ctx, opts, inputs)
	if err != nil {
		return err
	}
	server.ShutdownTimeout = options.ConnectionGrace
	prepared := server.PrepareRun()
	if opts.Standalone.Enabled {
		defer startFreeing(ctx, server.LoopbackClientConfig)()
		defer startRewrap(ctx, server.LoopbackClientConfig, opts.Rewrap)()
	}
	go whenReady(ctx, server.LoopbackClientConfig, ready)
	return prepared.RunWithContext(ctx)
}

// build makes the server. It waits for an etcd that does not answer, which nothing can end: see errAbandoned.
func build(ctx context.Context, opts options.CompletedOptions, inputs *options.Inputs) (*genericapiserver.GenericAPIServer, error) {
	type result struct {
		server *genericapiserver.GenericAPIServer
		err    error
	}
	built := make(chan result, 1)
	go func() {
		config, err := opts.Config(inputs) //nolint:contextcheck // a hook gets its context when it runs
		if err != nil {
			built <- result{nil, err}
			return
		}
		if err := opts.CompareKeys(ctx); err != nil {
			built <- result{nil, err}
			return
		}
		server, err := config.Complete().New()
		built <- result{server, err}
	}()
	select {
	case <-ctx.Done():
		return nil, errAbandoned
	case done := <-built:
		if errors.Is(done.err, context.DeadlineExceeded) {
			return nil, fmt.Errorf("no answer from --etcd-servers %s: %w", opts.Storage.ServerNames(), done.err)
		}
		return done.server, done.err
	}
}

func whenReady(ctx context.Context, loopback *restclient.Config, ready func()) {
	if err := waitReady(ctx, loopback); err != nil {
		return // the server stops before it was ready, and says why itself
	}
	ready()
}
