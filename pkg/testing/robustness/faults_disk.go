// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3" //nolint:depguard // fills and empties etcd, as an operator does

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	// quota is --quota-backend-bytes of etcd: what clients write stays far below, and it is soon filled.
	quota = 64 << 20
	// diskBytes hold the database up to its quota, the copy that defragmenting makes, and six files of the write-ahead
	// log, of 64 MiB each: walArgs keep fewer. It is memory, of which only what is used is taken.
	diskBytes = 2*quota + 6*64<<20
	// ballast is the prefix of what fills the database.
	ballast = "/ballast/"
	// maintenance bounds a call to etcd that mends it, on a busy machine.
	maintenance = 60 * time.Second
)

// walArgs have etcd keep little of its write-ahead log.
var walArgs = []string{"--snapshot-count=1000", "--max-wals=2", "--max-snapshots=2"}

// diskFaults fill disks. The first needs root, for a separate disk.
var diskFaults = []fault{
	{"fill the disk of an etcd member", func(t *testing.T, e *environment, _ *rand.Rand) injection {
		m := e.etcd.Members[members-1]
		before := len(harness.ReadFile(t, m.LogFile))
		if err := m.Disk.Fill(); err != nil {
			t.Fatal(err)
		}
		return injection{
			effect: func() bool {
				return bytes.Contains(harness.ReadFile(t, m.LogFile)[before:], []byte("no space left on device"))
			},
			heal: func() {
				m.Kill() // it ended by itself when it could not write
				if err := m.Disk.Free(); err != nil {
					t.Error(err)
				}
				m.Start(t)
			},
		}
	}},
	{"fill the database of etcd", func(t *testing.T, e *environment, _ *rand.Rand) injection {
		names := [replicas]string{}
		for server := range replicas {
			if !eventually(func() (ok bool) {
				var err error
				names[server], err = e.prober.fresh(t.Context(), server)
				return err == nil
			}) {
				t.Error("no write succeeds before the database is filled")
			}
		}
		fillDatabase(t, e)
		return injection{
			effect: func() bool { return refusesWritesOnly(t.Context(), e, names) },
			heal:   func() { emptyDatabase(t, e) },
		}
	}},
}

// fillDatabase writes until etcd raises its alarm.
func fillDatabase(t *testing.T, e *environment) {
	t.Helper()
	client := e.etcd.Client(t)
	defer func() { _ = client.Close() }()
	block := strings.Repeat("x", 1<<20)
	n := 0
	if !eventually(func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), controlTimeout)
		defer cancel()
		var err error
		for ; err == nil; n++ {
			_, err = client.Put(ctx, fmt.Sprintf("%s%d", ballast, n), block)
		}
		return errors.Is(err, rpctypes.ErrNoSpace)
	}) {
		t.Error("etcd does not say that its database is full")
	}
}

// refusesWritesOnly wants each server to refuse a write, and to read and open as before.
func refusesWritesOnly(ctx context.Context, e *environment, names [replicas]string) bool {
	for server, name := range names {
		if _, err := e.prober.fresh(ctx, server); !errors.Is(err, errDatabaseFull) {
			return false
		}
		for _, kind := range []Kind{Get, Decrypt} {
			if !e.prober.do(ctx, server, "probe", Input{Kind: kind, Name: name}) {
				return false
			}
		}
	}
	return true
}

// emptyDatabase does what docs/operations.md tells an operator to do.
func emptyDatabase(t *testing.T, e *environment) {
	t.Helper()
	client := e.etcd.Client(t)
	defer func() { _ = client.Close() }()
	var err error
	if !eventually(func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), maintenance)
		defer cancel()
		err = makeRoom(ctx, client)
		return err == nil
	}) {
		t.Errorf("making room in etcd: %v", err)
	}
}

func makeRoom(ctx context.Context, client *clientv3.Client) error {
	deleted, err := client.Delete(ctx, ballast, clientv3.WithPrefix())
	if err != nil {
		return fmt.Errorf("deleting the ballast: %w", err)
	}
	// Servers may compact too, and further.
	if _, err := client.Compact(ctx, deleted.Header.Revision, clientv3.WithCompactPhysical()); err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compacting: %w", err)
	}
	for _, endpoint := range client.Endpoints() {
		if _, err := client.Defragment(ctx, endpoint); err != nil {
			return fmt.Errorf("defragmenting %s: %w", endpoint, err)
		}
	}
	if _, err = client.AlarmDisarm(ctx, &clientv3.AlarmMember{}); err != nil {
		return fmt.Errorf("disarming the alarm: %w", err)
	}
	return nil
}
