// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	restclient "k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
	"github.com/securevalue/secret-apiserver/pkg/standalone"
)

// Run serves until ctx ends and returns when everything is closed: first the API server, then etcd, then the lock of
// the data folder. The banner goes to out once the server is ready.
func Run(ctx context.Context, opts options.CompletedOptions, out io.Writer) error {
	listener, err := opts.Serving.Listen(ctx)
	if err != nil {
		return err
	}
	// The generic server closes the listener too; this is for the ways out before it has it.
	defer func() { _ = listener.Close() }()

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var data *standalone.Data // set before the first request comes
	inputs, err := opts.Load(ctx, authenticator.TokenFunc(func(ctx context.Context, token string) (*authenticator.Response, bool, error) {
		return data.AdminAuthenticator().AuthenticateToken(ctx, token)
	}))
	if err != nil {
		return err
	}
	data, err = prepare(opts, listener)
	if err != nil {
		return err
	}
	defer func() {
		if err := data.Close(); err != nil {
			klog.ErrorS(err, "Could not release the data folder", "dir", data.Dir())
		}
	}()

	if !opts.Storage.HasServers() {
		stop, err := startEtcd(ctx, cancel, opts, data)
		if err != nil {
			return err
		}
		defer stop()
	}
	if err := serve(ctx, opts, inputs, data, listener, out); err != nil {
		return err
	}
	return stopCause(ctx)
}

// prepare locks the data folder, makes what is missing in it and uses what the operator did not bring.
func prepare(opts options.CompletedOptions, listener net.Listener) (*standalone.Data, error) {
	data, err := standalone.Prepare(standalone.Config{
		DataDir:     opts.Standalone.DataDir,
		BindAddress: opts.Serving.BindAddress().String(),
		Port:        listener.Addr().(*net.TCPAddr).Port,
		ForeignKeys: opts.Encryption.HasFile(),
	})
	if err != nil {
		return nil, err
	}
	if !opts.Serving.HasCertificate() {
		opts.Serving.UseCertificate(data.ServingCert())
	}
	if !opts.Encryption.HasFile() {
		opts.Encryption.UseFile(data.EncryptionConfig())
	}
	return data, nil
}

// startEtcd runs the embedded etcd and stops the server when etcd ends by itself.
func startEtcd(ctx context.Context, cancel context.CancelCauseFunc, opts options.CompletedOptions, data *standalone.Data) (stop func(), err error) {
	db, err := etcd.Start(ctx, etcd.Config{Dir: data.EtcdDir()})
	if err != nil {
		return nil, err
	}
	opts.Storage.UseServers(db.Endpoints())
	go func() {
		if err, failed := <-db.Err(); failed {
			cancel(err)
		}
	}()
	return func() {
		db.Stop()
		klog.InfoS("Embedded etcd is closed", "dir", data.EtcdDir())
	}, nil
}

func serve(ctx context.Context, opts options.CompletedOptions, inputs *options.Inputs, data *standalone.Data, listener net.Listener, out io.Writer) error {
	config, err := opts.Config(inputs) //nolint:contextcheck // a hook gets its context when it runs
	if err != nil {
		return err
	}
	server, err := config.Complete().New()
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer from --etcd-servers %s: %w", opts.Storage.ServerNames(), err)
	}
	if err != nil {
		return err
	}
	prepared := server.PrepareRun()
	defer startRewrap(ctx, server.LoopbackClientConfig, opts.Rewrap)()
	go announce(ctx, server.LoopbackClientConfig, data, listener, out)
	return prepared.RunWithContext(ctx)
}

// announce prints the banner once every readiness check has passed.
func announce(ctx context.Context, loopback *restclient.Config, data *standalone.Data, listener net.Listener, out io.Writer) {
	if err := waitReady(ctx, loopback); err != nil {
		return // the server stops before it was ready, and says why itself
	}
	err := standalone.Banner(out, standalone.BannerInfo{
		Listen: listener.Addr().String(), ServerURL: data.ServerURL(),
		Kubeconfig: data.Kubeconfig(), CACert: data.CACert(),
	})
	if err != nil {
		klog.ErrorS(err, "Could not print the banner")
	}
}

// stopCause tells an ordinary stop from one that a failing etcd caused.
func stopCause(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && cause != context.Canceled { //nolint:errorlint // the sentinel itself
		return fmt.Errorf("stopped: %w", cause)
	}
	return nil
}
