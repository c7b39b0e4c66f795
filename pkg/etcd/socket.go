// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
)

// maxSocketPath is below the limit of every system served: 108 bytes on Linux, 104 on BSD and macOS.
const maxSocketPath = 100

// plainPath matches paths that mean the same to net/url, to gRPC's target parser and to a comma-separated flag.
var plainPath = regexp.MustCompile(`^/[A-Za-z0-9._/+=@-]*$`)

// sockets are the two endpoints of a member, as URLs.
type sockets struct {
	client, http string
	// temp is the directory to remove on stop; empty when the sockets live in the member's own directory.
	temp string
}

// newSockets places the sockets in dir if a socket there can be used, else in a fresh private temporary directory:
// dir may be too deep for a socket path, hold characters that endpoint URLs cannot, or lie on a file system without sockets.
func newSockets(ctx context.Context, dir string) (sockets, error) {
	inDir := probe(ctx, dir)
	if inDir == nil {
		return socketsIn(dir), nil
	}
	temp, err := os.MkdirTemp("", "secret-apiserver-")
	if err != nil {
		return sockets{}, fmt.Errorf("creating a directory for etcd's sockets, set TMPDIR to one that can be written: %w (%w)", err, inDir)
	}
	if err := probe(ctx, temp); err != nil {
		_ = os.Remove(temp) // empty, and of no consequence
		return sockets{}, fmt.Errorf("etcd needs a directory for its unix sockets, set TMPDIR to a short path: %w (%w)", err, inDir)
	}
	s := socketsIn(temp)
	s.temp = temp
	return s, nil
}

func socketsIn(dir string) sockets {
	return sockets{
		client: "unix://" + filepath.Join(dir, "client.sock"),
		http:   "unix://" + filepath.Join(dir, "http.sock"),
	}
}

// probe says why a socket in dir would not work.
func probe(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "probe.sock")
	switch {
	case len(path) > maxSocketPath:
		return fmt.Errorf("%s: longer than %d bytes", path, maxSocketPath)
	case !plainPath.MatchString(path):
		return fmt.Errorf("%s: has characters that an etcd endpoint cannot hold", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return err
	}
	return l.Close()
}

func (s sockets) remove() error {
	if s.temp == "" {
		return nil
	}
	return os.RemoveAll(s.temp)
}
