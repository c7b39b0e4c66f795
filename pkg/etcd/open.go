// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// dialTimeout bounds how long a tool waits for a database that does not answer.
const dialTimeout = 5 * time.Second

// Open returns a client of the database in dir, for a tool: of the member that runs there, or else of one that runs until
// the client is closed. It creates no database.
func Open(ctx context.Context, dir string) (client *clientv3.Client, stop func(), err error) {
	if _, err := os.Stat(filepath.Join(dir, "member")); err != nil {
		return nil, nil, fmt.Errorf("no database in %s: %w", dir, err)
	}
	server, err := Start(ctx, Config{Dir: dir, quiet: true})
	if err == nil {
		return server.Client(), server.Stop, nil
	}
	if !errors.Is(err, ErrInUse) {
		return nil, nil, err
	}
	endpoint, err := os.ReadFile(endpointFile(dir))
	if err != nil {
		return nil, nil, fmt.Errorf("finding the server that uses %s: %w", dir, err)
	}
	return Dial(ctx, Remote{Endpoints: []string{strings.TrimSpace(string(endpoint))}})
}

// Remote is an etcd that somebody else runs.
type Remote struct {
	// Endpoints are the values of --etcd-servers.
	Endpoints []string
	// CAFile, CertFile and KeyFile are for TLS; each may be empty.
	CAFile, CertFile, KeyFile string
}

// Dial returns a client of a remote etcd that has answered once.
func Dial(ctx context.Context, remote Remote) (client *clientv3.Client, stop func(), err error) {
	config := clientv3.Config{Context: ctx, Endpoints: remote.Endpoints, DialTimeout: dialTimeout, Logger: zap.NewNop()}
	if remote.CAFile+remote.CertFile+remote.KeyFile != "" {
		info := transport.TLSInfo{TrustedCAFile: remote.CAFile, CertFile: remote.CertFile, KeyFile: remote.KeyFile}
		if config.TLS, err = info.ClientConfig(); err != nil {
			return nil, nil, fmt.Errorf("reading the certificates for etcd: %w", err)
		}
	}
	if client, err = clientv3.New(config); err != nil {
		return nil, nil, fmt.Errorf("connecting to etcd at %s: %w", strings.Join(remote.Endpoints, ","), err)
	}
	asked, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	if _, err := client.Get(asked, "\x00", clientv3.WithCountOnly()); err != nil {
		return nil, nil, errors.Join(fmt.Errorf("no answer from etcd at %s: %w", strings.Join(remote.Endpoints, ","), err), client.Close())
	}
	return client, func() { _ = client.Close() }, nil // reports only that its context ended
}

// endpointFile tells tools where the member that runs in dir is: its socket may lie elsewhere.
func endpointFile(dir string) string { return filepath.Join(dir, "endpoint") }
