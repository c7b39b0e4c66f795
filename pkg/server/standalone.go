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
	"github.com/securevalue/secret-apiserver/pkg/standalone"
)

// runStandalone serves without a cluster. It closes in this order: the API server, etcd, the lock of the data folder.
func (s *server) runStandalone(ctx context.Context, out io.Writer) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var data *standalone.Data // set before the first request
	s.inputs, err = s.load(
		ctx,
		authenticator.TokenFunc(func(ctx context.Context, token string) (*authenticator.Response, bool, error) {
			return data.AdminAuthenticator().AuthenticateToken(ctx, token)
		}),
	)
	if err != nil {
		return err
	}
	generated := !s.opts.Serving.HasCertificate()
	if data, err = s.prepare(); err != nil {
		return err
	}
	defer func() {
		if err := data.Close(); err != nil {
			klog.ErrorS(err, "Could not release the data folder", "dir", data.Dir())
		}
	}()
	if generated {
		renewing, stop := context.WithCancel(ctx)
		var group sync.WaitGroup
		group.Go(func() { data.Renew(renewing) })
		defer group.Wait() // before the data folder is released
		defer stop()
	}
	if !s.opts.Storage.HasServers() {
		stop, err := s.startEtcd(ctx, cancel, data)
		if err != nil {
			return err
		}
		defer stop()
	}
	printBanner := func() {
		if err := data.Banner(out, s.listener.Addr().String(), s.decrypt.address()); err != nil {
			klog.ErrorS(err, "Could not print the banner")
		}
	}
	if err := s.serve(ctx, printBanner); err != nil {
		return err
	}
	cause := context.Cause(ctx)
	if cause != nil && cause != context.Canceled { //nolint:errorlint // the sentinel itself
		return fmt.Errorf("stopped: %w", cause)
	}
	return nil
}

// prepare locks the data folder, generates what is missing in it and sets the flags that the operator left unset.
func (s *server) prepare() (*standalone.Data, error) {
	opts := s.opts
	if err := etcd.MakeRoom(standalone.EtcdDir(opts.Standalone.DataDir)); err != nil {
		return nil, err
	}
	data, err := standalone.Prepare(standalone.Config{
		DataDir:     opts.Standalone.DataDir,
		BindAddress: opts.Serving.BindAddress.String(),
		Port:        s.listener.Addr().(*net.TCPAddr).Port,
		ExtraSANs:   opts.Standalone.SANs,
		ForeignKeys: opts.Encryption.ConfigFile != "",
	})
	if err != nil {
		return nil, err
	}
	if !opts.Serving.HasCertificate() {
		s.servingCA = data.CACert()
		pair := &opts.Serving.ServerCert.CertKey
		pair.CertFile, pair.KeyFile = data.ServingCert()
	}
	if opts.Encryption.ConfigFile == "" {
		opts.Encryption.ConfigFile, opts.Encryption.AutomaticReload = data.EncryptionConfig(), true
	}
	log := &opts.Decrypt.Audit
	if log.LogPath == "" {
		log.LogPath, log.KeyFile = data.DecryptAudit()
		s.generateAuditKey = true
	}
	if log.Instance == "" {
		log.Instance = "standalone" // the only chain of its etcd, which may move to another host
	}
	return data, nil
}

// startEtcd runs the embedded etcd and stops the server when etcd stops by itself.
func (s *server) startEtcd(
	ctx context.Context, cancel context.CancelCauseFunc, data *standalone.Data,
) (stop func(), err error) {
	minFree, err := s.opts.Storage.MinFree()
	if err != nil {
		return nil, err
	}
	db, err := etcd.Start(ctx, etcd.Config{
		Dir: data.EtcdDir(), QuotaBytes: s.opts.Storage.Quota.Value(),
		Upkeep: &etcd.Upkeep{HistoryBytes: s.opts.Storage.HistoryMax.Value(), MinFreeBytes: minFree},
	})
	if err != nil {
		return nil, err
	}
	s.opts.Storage.StorageConfig.Transport.ServerList = db.Endpoints()
	s.etcd = etcdConnection{
		embedded: db.Client(),
		newRaw:   sealed.InProcess(db.Client()), //nolint:contextcheck // the store lives as long as etcd
	}
	s.notices.add("writes-refused", db.Notice)
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
