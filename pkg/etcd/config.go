// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

const (
	memberName = "standalone"
	// peerURL is the member's identity in its cluster record. Nothing listens there. With an IP address etcd's check of
	// the initial cluster needs no resolver.
	peerURL = "http://127.0.0.1:2380"

	// DefaultQuotaBytes is the largest quota that etcd recommends.
	DefaultQuotaBytes = 8 << 30

	// The API server's watch cache needs progress events to serve consistent reads; etcd's default is ten minutes.
	progressNotifyInterval = 5 * time.Second
	// A single member elects itself after one election timeout: a short one makes the start fast, and there are no slow
	// peers.
	tickMs, electionMs = 20, 100
	// Entries kept for slow followers, of which there are none. Each may hold a whole object in memory.
	catchUpEntries = 100
	snapshotCount  = 5000
)

// Config configures a member.
type Config struct {
	// Dir holds the member's lock, data and sockets. It is created with mode 0700.
	Dir string
	// LogOutput receives etcd's warnings and errors as JSON lines; nil means standard error.
	LogOutput io.Writer
	// QuotaBytes is the size of the database at which etcd refuses writes; 0 means DefaultQuotaBytes.
	QuotaBytes int64
	// Upkeep is nil for a tool.
	Upkeep *Upkeep

	// quiet logs only what ends the process: tools report failures themselves.
	quiet bool
}

func (c Config) logOutput() io.Writer {
	if c.LogOutput == nil {
		return os.Stderr
	}
	return c.LogOutput
}

// embedConfig translates c for the embed package. register receives the gRPC server before it serves.
func (c Config) embedConfig(socks sockets, log *zap.Logger, register func(*grpc.Server)) *embed.Config {
	e := embed.NewConfig()
	e.Name, e.Dir = memberName, c.Dir
	e.InitialCluster = memberName + "=" + peerURL
	e.AdvertisePeerUrls = []url.URL{mustURL(peerURL)}
	e.ListenPeerUrls = nil

	// Two sockets: etcd advises against serving gRPC and HTTP on one.
	e.ListenClientUrls = []url.URL{mustURL(socks.client)}
	e.AdvertiseClientUrls = e.ListenClientUrls
	e.ListenClientHttpUrls = []url.URL{mustURL(socks.http)}
	e.ServiceRegister = register

	e.TickMs, e.ElectionMs, e.InitialElectionTickAdvance = tickMs, electionMs, true
	e.SnapshotCount, e.SnapshotCatchUpEntries = snapshotCount, catchUpEntries
	e.QuotaBackendBytes = cmp.Or(c.QuotaBytes, DefaultQuotaBytes)
	e.WatchProgressNotifyInterval = progressNotifyInterval
	// The API server and upkeep compact, by one protocol: a third compactor would race.
	e.AutoCompactionMode, e.AutoCompactionRetention = embed.CompactorModePeriodic, "0"
	e.UnsafeNoFsync = false
	// etcd's users are not used; the default would log a warning about their tokens.
	e.AuthToken = ""

	e.LogLevel = "warn"
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	return e
}

// mustURL parses a URL that this package built.
func mustURL(s string) url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return *u
}

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

// newSockets places the sockets in dir if that works, else in a new private temporary directory: the path of dir may be
// too long for a socket or contain characters that endpoint URLs cannot, or its file system may not support sockets.
func newSockets(ctx context.Context, dir string) (sockets, error) {
	inDir := probe(ctx, dir)
	if inDir == nil {
		return socketsIn(dir), nil
	}
	temp, err := os.MkdirTemp("", "secret-apiserver-")
	if err != nil {
		return sockets{}, fmt.Errorf(
			"creating a directory for etcd's sockets, set TMPDIR to one that can be written: %w (%w)", err, inDir)
	}
	if err := probe(ctx, temp); err != nil {
		_ = os.Remove(temp) // an empty directory does not matter
		return sockets{}, fmt.Errorf("etcd needs a directory for its unix sockets, set TMPDIR to a short path: %w (%w)",
			err, inDir)
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

// probe returns why a socket in dir would not work.
func probe(ctx context.Context, dir string) error {
	path := filepath.Join(dir, "probe.sock")
	switch {
	case len(path) > maxSocketPath:
		return fmt.Errorf("%s: longer than %d bytes", path, maxSocketPath)
	case !plainPath.MatchString(path):
		return fmt.Errorf("%s: contains characters that an etcd endpoint cannot", path)
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
