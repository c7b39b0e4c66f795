// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"cmp"
	"io"
	"net/url"
	"os"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

const (
	memberName = "standalone"
	// peerURL is the member's identity in its cluster record. Nothing listens there. It is an address and not a name so
	// that etcd's check of the initial cluster asks no resolver.
	peerURL = "http://127.0.0.1:2380"

	// DefaultQuotaBytes is the most that etcd advises.
	DefaultQuotaBytes = 8 << 30

	// The API server's watch cache needs progress events to serve consistent reads; etcd's default is ten minutes.
	progressNotifyInterval = 5 * time.Second
	// A member that is alone elects itself after one election timeout, so a short one is a fast start. No peer can be
	// slow, therefore the usual reasons for a long one do not apply.
	tickMs, electionMs = 20, 100
	// Entries kept for slow followers; there are none, and each may hold a whole object in memory.
	catchUpEntries = 100
	snapshotCount  = 5000
)

// Config says where the member lives and where it reports to.
type Config struct {
	// Dir holds the member's lock, data and sockets. It is created with mode 0700.
	Dir string
	// LogOutput gets etcd's warnings and errors, one JSON object a line. Nil means standard error.
	LogOutput io.Writer
	// QuotaBytes is the size of the database at which etcd refuses writes; 0 means 8 GiB.
	QuotaBytes int64
	// Upkeep is nil for a tool, which looks at the data and goes.
	Upkeep *Upkeep

	// quiet leaves out all but what ends the process: for tools, which report failures themselves.
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

	// Two sockets, so that gRPC is not multiplexed with HTTP: etcd advises against one for both.
	e.ListenClientUrls = []url.URL{mustURL(socks.client)}
	e.AdvertiseClientUrls = e.ListenClientUrls
	e.ListenClientHttpUrls = []url.URL{mustURL(socks.http)}
	e.ServiceRegister = register

	e.TickMs, e.ElectionMs, e.InitialElectionTickAdvance = tickMs, electionMs, true
	e.SnapshotCount, e.SnapshotCatchUpEntries = snapshotCount, catchUpEntries
	e.QuotaBackendBytes = cmp.Or(c.QuotaBytes, DefaultQuotaBytes)
	e.WatchProgressNotifyInterval = progressNotifyInterval
	// Compaction is the task of the API server and of Upkeep, which share a protocol: a third one would race.
	e.AutoCompactionMode, e.AutoCompactionRetention = embed.CompactorModePeriodic, "0"
	e.UnsafeNoFsync = false
	// Users of etcd are not used; the default would warn about their tokens.
	e.AuthToken = ""

	e.LogLevel = "warn"
	e.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log)
	return e
}

// mustURL parses a URL this package has put together itself.
func mustURL(s string) url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return *u
}
