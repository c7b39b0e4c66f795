// SPDX-License-Identifier: Apache-2.0

package etcdcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// patience bounds a start on a busy machine; it does not test speed.
const patience = 90 * time.Second

// Options say how members listen to clients.
type Options struct {
	// Args are further flags of each member.
	Args []string
	// HTTPS is set when Args bring certificates for clients.
	HTTPS bool
	// DiskBytes is the size of a disk that the last member gets for itself, in memory; 0 gives none. It takes root.
	DiskBytes int64
}

// Cluster is some members of one etcd.
type Cluster struct {
	Members []*Member
}

// Member is one process.
type Member struct {
	// Name is --name, ClientURL where clients connect, Dir the data folder, LogFile what it printed.
	Name, ClientURL, Dir, LogFile string
	// Disk is where Dir lies when the member has one for itself.
	Disk *Disk

	peerURL string
	args    []string
	command *exec.Cmd
	log     *os.File
}

// Start runs n members until the test ends, and returns when they serve.
func Start(t testing.TB, n int, opts Options) *Cluster {
	t.Helper()
	c := &Cluster{}
	scheme := "http"
	if opts.HTTPS {
		scheme = "https"
	}
	var initial []string
	for i := range n {
		dir := t.TempDir()
		m := &Member{
			Name: fmt.Sprintf("m%d", i), Dir: filepath.Join(dir, "data"), LogFile: filepath.Join(dir, "etcd.log"),
			ClientURL: scheme + "://" + harness.FreeAddress(t), peerURL: "http://" + harness.FreeAddress(t),
		}
		initial = append(initial, m.Name+"="+m.peerURL)
		c.Members = append(c.Members, m)
	}
	if opts.DiskBytes > 0 {
		last := c.Members[n-1]
		last.Disk = newDisk(t, opts.DiskBytes)
		last.Dir = filepath.Join(last.Disk.dir, "data")
	}
	for _, m := range c.Members {
		m.args = append([]string{
			"--name=" + m.Name, "--data-dir=" + m.Dir, "--log-level=warn",
			"--listen-client-urls=" + m.ClientURL, "--advertise-client-urls=" + m.ClientURL,
			"--listen-peer-urls=" + m.peerURL, "--initial-advertise-peer-urls=" + m.peerURL,
			"--initial-cluster=" + strings.Join(initial, ","), "--watch-progress-notify-interval=5s",
		}, opts.Args...)
		m.Start(t)
	}
	if !opts.HTTPS {
		for _, m := range c.Members {
			m.await(t)
		}
	}
	return c
}

// Endpoints is for --etcd-servers.
func (c *Cluster) Endpoints() []string {
	var urls []string
	for _, m := range c.Members {
		urls = append(urls, m.ClientURL)
	}
	return urls
}

// Client connects to all members of a cluster without TLS. Close it.
func (c *Cluster) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	return dial(t, c.Endpoints()...)
}

func dial(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// MoveLeader makes another member the leader, the one that comes by places behind the present one, and returns an error
// when it cannot: while another fault is in force.
func (c *Cluster) MoveLeader(ctx context.Context, t testing.TB, by int) error {
	t.Helper()
	ids := make([]uint64, len(c.Members))
	leader, err := -1, error(nil)
	for i, m := range c.Members {
		client := dial(t, m.ClientURL)
		defer func() { _ = client.Close() }()
		status, statusErr := client.Status(ctx, m.ClientURL)
		if statusErr != nil {
			err = statusErr
			continue
		}
		if ids[i] = status.Header.GetMemberId(); ids[i] == status.Leader {
			leader = i
		}
	}
	if leader < 0 {
		return errors.Join(errors.New("no leader answers"), err)
	}
	target := ids[(leader+by)%len(ids)]
	client := dial(t, c.Members[leader].ClientURL)
	defer func() { _ = client.Close() }()
	_, err = client.MoveLeader(ctx, target)
	return err
}

// Start starts a member that does not run.
func (m *Member) Start(t testing.TB) {
	t.Helper()
	var err error
	if m.log, err = os.OpenFile(m.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err != nil {
		t.Fatal(err)
	}
	m.command = exec.Command(harness.EtcdBinary(t), m.args...) //nolint:gosec,noctx // the pinned etcd; ended by Kill
	m.command.Stdout, m.command.Stderr = m.log, m.log
	m.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.command.Start(); err != nil {
		t.Fatal(err)
	}
	command, log := m.command, m.log
	t.Cleanup(func() { end(command, log) })
}

// Kill ends the process at once.
func (m *Member) Kill() { end(m.command, m.log) }

func end(command *exec.Cmd, log *os.File) {
	_ = command.Process.Kill()
	_ = command.Wait() // it was killed, or waited for before
	_ = log.Close()
}

// Signal sends a signal to the process.
func (m *Member) Signal(signal os.Signal) error { return m.command.Process.Signal(signal) }

// await waits until the member serves a linearizable read.
func (m *Member) await(t testing.TB) {
	t.Helper()
	client := dial(t, m.ClientURL)
	defer func() { _ = client.Close() }()
	for deadline := time.Now().Add(patience); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := client.Get(ctx, "/")
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s does not serve: %v\n%s", m.Name, err, harness.ReadFile(t, m.LogFile))
		}
	}
}
