// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	restclient "k8s.io/client-go/rest"
	"k8s.io/component-base/metrics/legacyregistry"

	"github.com/securevalue/secret-apiserver/pkg/reload"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

// Run serves until ctx ends and returns when everything is closed. The banner of a standalone server goes to out once
// it is ready.
func Run(ctx context.Context, opts options.CompletedOptions, out io.Writer) error {
	reload.CatchHangup()
	letHeapGrow()
	if err := forbidDumps(); err != nil {
		return err
	}
	syscall.Umask(0o077)                                          // whatever the caller's takes away: 0277 would make files that a second start cannot write
	_ = legacyregistry.Registerer().Register(version.BuildInfo()) // a second run in one process finds it there
	listener, err := opts.Serving.Listen(ctx)
	if err != nil {
		return err
	}
	// The generic server closes the listener too; this is for the ways out before it has it.
	defer func() { _ = listener.Close() }()
	if err := opts.Decrypt.Listen(ctx, opts.Serving.BindAddress()); err != nil {
		return err
	}
	defer opts.Decrypt.Close()
	if opts.Standalone.Enabled {
		return runStandalone(ctx, opts, listener, out)
	}
	return runAggregated(ctx, opts, listener)
}

// serve runs the API server until ctx ends. ready is called in a goroutine of its own once every readiness check has
// passed.
func serve(ctx context.Context, opts options.CompletedOptions, inputs *options.Inputs, ready func()) error {
	defer opts.Storage.Close()
	defer opts.Decrypt.Close()         // before etcd is stopped
	config, err := opts.Config(inputs) //nolint:contextcheck // a hook gets its context when it runs
	if err != nil {
		return err
	}
	if err := opts.CompareKeys(ctx); err != nil {
		return err
	}
	server, err := config.Complete().New()
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer from --etcd-servers %s: %w", opts.Storage.ServerNames(), err)
	}
	if err != nil {
		return err
	}
	server.ShutdownTimeout = options.ConnectionGrace
	server.Handler.FullHandlerChain = withNotices(server.Handler.FullHandlerChain, opts.Notices())
	prepared := server.PrepareRun()
	if opts.Standalone.Enabled {
		defer startFreeing(ctx, server.LoopbackClientConfig)()
		defer startRewrap(ctx, server.LoopbackClientConfig, opts.Rewrap)()
	}
	go whenReady(ctx, server.LoopbackClientConfig, ready)
	return prepared.RunWithContext(ctx)
}

func whenReady(ctx context.Context, loopback *restclient.Config, ready func()) {
	if err := waitReady(ctx, loopback); err != nil {
		return // the server stops before it was ready, and says why itself
	}
	ready()
}
