// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"crypto/tls"
	"fmt"
	"io"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/storage/storagebackend"
)

// The values of k8s.io/apiserver for its own clients.
const (
	etcdDialTimeout      = 20 * time.Second
	etcdKeepAlive        = 30 * time.Second
	etcdKeepAliveTimeout = 10 * time.Second
)

// Etcd is the part of an etcd client that the decrypt service uses.
type Etcd interface {
	clientv3.KV
	io.Closer
}

// NewEtcdClient connects to the etcd of the API server by a connection of its own. It does not wait for an answer: while
// etcd is out of reach, calls fail. What fails is returned and not logged a second time.
func NewEtcdClient(config storagebackend.TransportConfig) (*clientv3.Client, error) {
	secure, err := etcdTLS(config)
	if err != nil {
		return nil, err
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: config.ServerList, TLS: secure, Logger: zap.NewNop(),
		DialTimeout: etcdDialTimeout, DialKeepAliveTime: etcdKeepAlive, DialKeepAliveTimeout: etcdKeepAliveTimeout,
	})
	if err != nil {
		return nil, fmt.Errorf("connecting to --etcd-servers: %w", err)
	}
	return client, nil
}

// etcdTLS is nil for an etcd without TLS.
func etcdTLS(config storagebackend.TransportConfig) (*tls.Config, error) {
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
