// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
	"github.com/securevalue/secret-apiserver/pkg/standalone"
)

// runStandalone serves with nothing beside it. What it opens is closed in order: first the API server, then etcd, then
// the lock of the data folder.
func runStandalone(ctx context.Context, opts options.CompletedOptions, listener net.Listener, out io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var data *standalone.Data // set before the first request comes
	inputs, err := opts.Load(ctx, authenticator.TokenFunc(func(ctx context.Context, token string) (*authenticator.Response, bool, error) {
		return data.AdminAuthenticator().AuthenticateToken(ctx, token)
	}))
	if err != nil {
		return err
	}
	own := !opts.Serving.HasCertificate()
	data, err = prepare(opts, listener)
	if err != nil {
		return err
	}
	defer func() {
		if err := data.Close(); err != nil {
			klog.ErrorS(err, "Could not release the data folder", "dir", data.Dir())
		}
	}()

	if own {
		renewing, stop := context.WithCancel(ctx)
		var group sync.WaitGroup
		group.Go(func() { data.Renew(renewing) })
		defer group.Wait() // before the folder is given free
		defer stop()
	}
	if !opts.Storage.HasServers() {
		stop, err := startEtcd(ctx, cancel, opts, data)
		if err != nil {
			return err
		}
		defer stop()
	}
	announce := func() {
		if err := data.Banner(out, listener.Addr().String(), opts.Decrypt.Address()); err != nil {
			klog.ErrorS(err, "Could not print the banner")
		}
	}
	if err := serve(ctx, opts, inputs, announce); err != nil {
		return err
	}
	return stopCause(ctx)
}

// prepare locks the data folder, makes what is missing in it and uses what the operator did not bring.
func prepare(opts options.CompletedOptions, listener net.Listener) (*standalone.Data, error) {
	if err := etcd.MakeRoom(standalone.EtcdDir(opts.Standalone.DataDir)); err != nil {
		return nil, err
	}
	data, err := standalone.Prepare(standalone.Config{
		DataDir:     opts.Standalone.DataDir,
		BindAddress: opts.Serving.BindAddress().String(),
		Port:        listener.Addr().(*net.TCPAddr).Port,
		ExtraSANs:   opts.Standalone.SANs,
		ForeignKeys: opts.Encryption.HasFile(),
	})
	if err != nil {
		return nil, err
	}
	if !opts.Serving.HasCertificate() {
		certFile, keyFile := data.ServingCert()
		opts.Serving.UseCertificate(certFile, keyFile, data.CACert())
	}
	if !opts.Encryption.HasFile() {
		opts.Encryption.UseFile(data.EncryptionConfig())
	}
	opts.Decrypt.Audit.UseFiles(data.DecryptAudit())
	return data, nil
}

// startEtcd runs the embedded etcd and stops the server when etcd ends by itself.
func startEtcd(ctx context.Context, cancel context.CancelCauseFunc, opts options.CompletedOptions, data *standalone.Data) (stop func(), err error) {
	config, err := opts.Storage.Embedded(data.EtcdDir())
	if err != nil {
		return nil, err
	}
	db, err := etcd.Start(ctx, config)
	if err != nil {
		return nil, err
	}
	opts.Storage.UseEmbedded(db.Endpoints(), db.Client(), sealed.InProcess(db.Client())) //nolint:contextcheck // the store lives as long as etcd
	opts.AddNotice("writes-refused", db.Notice)
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

// stopCause tells an ordinary stop from one that a failing etcd caused.
func stopCause(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != nil && cause != context.Canceled { //nolint:errorlint // the sentinel itself
		return fmt.Errorf("stopped: %w", cause)
	}
	return nil
}
