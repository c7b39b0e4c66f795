// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/component-base/tracing"
)

// DialTimeout is how long who starts waits for a connection; it and the others are the values of k8s.io/apiserver for its own clients.
const DialTimeout = 20 * time.Second

const (
	keepAlive        = 30 * time.Second
	keepAliveTimeout = 10 * time.Second
)

// New connects to etcd, without waiting for an answer: while etcd is out of reach, calls fail. What fails is returned and not logged a
// second time. Calls are traced if config has a TracerProvider. The caller closes the client.
func New(config storagebackend.TransportConfig) (*clientv3.Client, error) {
	secure, err := clientTLS(config)
	if err != nil {
		return nil, err
	}
	var options []grpc.DialOption
	if config.TracerProvider != nil {
		options = append(options, grpc.WithStatsHandler(otelgrpc.NewClientHandler(
			otelgrpc.WithTracerProvider(config.TracerProvider), otelgrpc.WithPropagators(tracing.Propagators()))))
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: config.ServerList, TLS: secure, Logger: zap.NewNop(), DialOptions: options,
		DialTimeout: DialTimeout, DialKeepAliveTime: keepAlive, DialKeepAliveTimeout: keepAliveTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to --etcd-servers: %w", err)
	}
	return client, nil
}

// WaitConnected returns once a client has a connection, or an error when ctx ends. A member that has no leader counts: who starts then
// becomes ready later.
func WaitConnected(ctx context.Context, client *clientv3.Client) error {
	conn := client.ActiveConnection()
	for state := conn.GetState(); state != connectivity.Ready; state = conn.GetState() {
		if state == connectivity.Idle {
			conn.Connect()
		}
		if !conn.WaitForStateChange(ctx, state) {
			return fmt.Errorf("no connection to --etcd-servers %s: see that etcd runs there and that --etcd-cafile, --etcd-certfile and "+
				"--etcd-keyfile are right: %w", strings.Join(client.Endpoints(), ","), ctx.Err())
		}
	}
	return nil
}

// clientTLS is nil for an etcd without TLS.
func clientTLS(config storagebackend.TransportConfig) (*tls.Config, error) {
	info := transport.TLSInfo{CertFile: config.CertFile, KeyFile: config.KeyFile, TrustedCAFile: config.TrustedCAFile}
	if info.CertFile == "" && info.KeyFile == "" && info.TrustedCAFile == "" {
		return nil, nil //nolint:nilnil // as clientv3 wants it
	}
	secure, err := info.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("reading --etcd-cafile, --etcd-certfile and --etcd-keyfile: %w", err)
	}
	return secure, nil
}
