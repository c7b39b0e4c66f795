// SPDX-License-Identifier: Apache-2.0

package world

import (
	"context"
	"crypto/tls"
	"path/filepath"
	"time"

	"github.com/securevalue/secret-apiserver/hack/bench/measure"
	"github.com/securevalue/secret-apiserver/hack/bench/wire"
	"github.com/securevalue/secret-apiserver/hack/e2e/controlplane"
	"github.com/securevalue/secret-apiserver/hack/e2e/process"
)

// etcdArgs make a member that syncs its disk, with room for what a run writes between two compactions.
var etcdArgs = []string{"--unsafe-no-fsync=false", "--quota-backend-bytes=8589934592", "--logger=zap", "--log-level=warn"}

// Side is one of the servers that are compared.
type Side struct {
	Name string
	// Dir holds its data and its logs.
	Dir string
	// Address is HOST:PORT of its API.
	Address string
	// Client is the TLS configuration of User, Admin that of a member of system:masters.
	Client, Admin *tls.Config
	// Ready is how long the last start took until /readyz.
	Ready time.Duration

	world        *World
	port         int
	server, etcd *process.Process
	etcdURL      string
	args         []string
	auditArgs    []string
}

// Usage is the CPU time that a side has spent since its processes started.
type Usage struct {
	// Server is that of the API server; with an embedded etcd it holds that too. Etcd is that of the separate process.
	Server, Etcd time.Duration
}

// Usage reads the CPU time.
func (s *Side) Usage() (u Usage, err error) {
	if u.Server, err = measure.CPU(s.server.PID()); err != nil || s.etcd == nil {
		return u, err
	}
	u.Etcd, err = measure.CPU(s.etcd.PID())
	return u, err
}

// ServerPID is the process id of the API server.
func (s *Side) ServerPID() int { return s.server.PID() }

// Memory reads the resident memory of the API server and of its etcd, which is zero when it is embedded.
func (s *Side) Memory() (server, etcd measure.Memory, err error) {
	if server, err = measure.ReadMemory(s.server.PID()); err != nil || s.etcd == nil {
		return server, etcd, err
	}
	etcd, err = measure.ReadMemory(s.etcd.PID())
	return server, etcd, err
}

// Metrics returns what /metrics of the API server says.
func (s *Side) Metrics(ctx context.Context) ([]byte, error) {
	connection, err := wire.Dial(ctx, s.Address, s.Admin)
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	return connection.Fetch("/metrics")
}

// Restart starts the API server, and stops it first when it runs. With audit it records each request at level Metadata.
func (s *Side) Restart(ctx context.Context, audit bool, args ...string) error {
	s.server.Kill() // writes were synced: nothing is lost
	all := append(append([]string{}, s.args...), args...)
	if audit {
		all = append(all, s.auditArgs...)
	}
	s.server.SetArgs(all...)
	started := time.Now()
	if err := s.server.Start(); err != nil {
		return err
	}
	err := s.server.Await(ctx, s.answers)
	s.Ready = time.Since(started)
	return err
}

// Stop ends the API server as a supervisor does, with its etcd left alone.
func (s *Side) Stop() error { return s.server.Stop() }

// Start runs the API server again and returns how long it took until /readyz.
func (s *Side) Start(ctx context.Context) (time.Duration, error) {
	err := s.Restart(ctx, false)
	return s.Ready, err
}

// answers asks /readyz as an administrator.
func (s *Side) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	connection, err := wire.Dial(ctx, s.Address, s.Admin)
	if err != nil {
		return err
	}
	defer func() { _ = connection.Close() }()
	_, err = connection.Fetch("/readyz")
	return err
}

func (s *Side) startEtcd(ctx context.Context) (err error) {
	s.etcd, s.etcdURL, err = controlplane.StartEtcd(ctx, s.world.config.Binaries, s.file("etcd"), s.file("etcd.log"), etcdArgs...)
	return err
}

func (s *Side) stop() {
	for _, p := range []*process.Process{s.server, s.etcd} {
		if p != nil {
			p.Kill()
		}
	}
}

func (s *Side) file(name string) string { return filepath.Join(s.Dir, name) }
