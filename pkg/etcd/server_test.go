// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
)

// start runs a member on dir and stops it with the test. What it logged is shown when the test fails: on a busy machine
// etcd warns of slow requests, which is not an error.
func start(t *testing.T, dir string) *Server {
	t.Helper()
	log := &lockedBuffer{}
	s, err := Start(t.Context(), Config{Dir: dir, LogOutput: log})
	if err != nil {
		t.Fatalf("Start(%s): %v", dir, err)
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("etcd logged:\n%s", log)
		}
	})
	return s
}

// dial connects as the API server and etcdctl do.
func dial(t *testing.T, s *Server) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), DialTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func get(t *testing.T, c *clientv3.Client, key string) string {
	t.Helper()
	got, err := c.Get(t.Context(), key)
	if err != nil {
		t.Fatalf("Get(%s): %v", key, err)
	}
	if len(got.Kvs) != 1 {
		t.Fatalf("Get(%s): %d keys, want 1", key, len(got.Kvs))
	}
	return string(got.Kvs[0].Value)
}

func TestDataSurvivesRestart(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	first := start(t, dir)
	if _, err := dial(t, first).Put(t.Context(), "/k", "over the socket"); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Client().Put(t.Context(), "/j", "in process"); err != nil {
		t.Fatal(err)
	}
	first.Stop()

	second := start(t, dir)
	if got := get(t, second.Client(), "/k"); got != "over the socket" {
		t.Errorf("/k = %q after a restart", got)
	}
	if got := get(t, dial(t, second), "/j"); got != "in process" {
		t.Errorf("/j = %q after a restart", got)
	}
}

// crashDirEnv makes the test binary a process that is killed right after a write was acknowledged.
const crashDirEnv = "TEST_ETCD_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		crash(dir)
	}
	os.Exit(m.Run())
}

func crash(dir string) {
	s, err := Start(context.Background(), Config{Dir: dir})
	if err == nil {
		_, err = s.Client().Put(context.Background(), "/k", "acknowledged")
	}
	if err == nil {
		err = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	panic(err)
}

func TestAcknowledgedWriteSurvivesAKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	for range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), crashDirEnv+"="+dir)
		out, err := cmd.CombinedOutput()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("child ended with %v, want to be killed:\n%s", err, out)
		}
	}
	if got := get(t, start(t, dir).Client(), "/k"); got != "acknowledged" {
		t.Errorf("/k = %q after a kill", got)
	}
}

func TestStoppedMemberIsClosed(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "etcd"))
	outside := dial(t, s)
	if _, err := outside.Put(t.Context(), "/k", "v"); err != nil {
		t.Fatal(err)
	}
	// A watch is a request that never ends: Stop must cut it.
	for range outside.Watch(t.Context(), "/k", clientv3.WithRev(1)) {
		break
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(s.Stop)
	}
	both.Wait()
	s.Stop()

	if err, open := <-s.Err(); open {
		t.Errorf("Err() yields %v after Stop, want a closed channel", err)
	}
	if _, err := new(net.Dialer).DialContext(t.Context(), "unix", strings.TrimPrefix(s.Endpoints()[0], "unix://")); err == nil {
		t.Error("the socket still takes connections after Stop")
	}
	if _, err := s.Client().Get(t.Context(), "/k"); err == nil {
		t.Error("the in-process client still works after Stop")
	}
}

func TestErrReportsAnEndNobodyAskedFor(t *testing.T) {
	s, err := Start(t.Context(), Config{Dir: filepath.Join(t.TempDir(), "etcd"), LogOutput: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	s.etcd.Server.HardStop()
	if err := <-s.Err(); err == nil {
		t.Error("Err() is closed without a reason after the member died")
	}
}

func TestSecondMemberIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	start(t, dir)
	_, err := Start(t.Context(), Config{Dir: dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second Start = %v, want ErrInUse and the directory", err)
	}
}

func TestStartRefuses(t *testing.T) {
	for _, tc := range []struct {
		name    string
		prepare func(t *testing.T, dir string)
		want    string
	}{
		{"damaged database", func(t *testing.T, dir string) {
			damage(t, filepath.Join(dir, "member", "snap", "db"))
		}, "failed to open database"},
		{"damaged log", func(t *testing.T, dir string) {
			wals, err := filepath.Glob(filepath.Join(dir, "member", "wal", "*.wal"))
			if err != nil || len(wals) == 0 {
				t.Fatalf("no write-ahead log: %v", err)
			}
			damage(t, wals[0])
		}, "its data is damaged"},
		{"open to others", func(t *testing.T, dir string) {
			if err := os.Chmod(dir, 0o750); err != nil {
				t.Fatal(err)
			}
		}, "run chmod 700 "},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filepath.Join(busyDir(t), "etcd")
			start(t, dir).Stop()
			tc.prepare(t, dir)
			log := &lockedBuffer{}
			_, err := Start(t.Context(), Config{Dir: dir, LogOutput: log})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("Start = %v, want %q and the directory", err, tc.want)
			}
			if strings.Contains(log.String(), "goroutine ") {
				t.Errorf("a stack trace was logged:\n%s", log)
			}
		})
	}
}

// busyDir is a temporary folder in which somebody may still write when it is to go: an etcd that panicked leaves
// goroutines behind.
func busyDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		var err error
		for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if err = os.RemoveAll(dir); err == nil {
				return
			}
		}
		t.Error(err)
	})
	return dir
}

func damage(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, bytes.Repeat([]byte("damaged "), 1<<13), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "etcd")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Config{Dir: dir, LogOutput: io.Discard}); !errors.Is(err, context.Canceled) {
		t.Fatalf("Start = %v, want context.Canceled", err)
	}
	start(t, dir) // the directory is free again
}

// Everything of the member is reachable by its owner only, wherever the sockets are.
func TestFilesArePrivate(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "etcd")
	start(t, dir)
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("%s has mode %04o, want 0700", dir, got)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&fs.ModeSocket != 0 {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %04o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestSettingsThatTheAPIServerRestsOn(t *testing.T) {
	cfg := start(t, filepath.Join(t.TempDir(), "etcd")).etcd.Config()
	if cfg.UnsafeNoFsync {
		t.Error("fsync is off")
	}
	if cfg.WatchProgressNotifyInterval != 5*time.Second {
		t.Errorf("watch progress every %s, want 5s", cfg.WatchProgressNotifyInterval)
	}
	if cfg.QuotaBackendBytes != 8<<30 {
		t.Errorf("quota = %d, want 8 GiB", cfg.QuotaBackendBytes)
	}
	if len(cfg.ListenPeerUrls) != 0 {
		t.Errorf("peer listeners: %v, want none", cfg.ListenPeerUrls)
	}
	for _, u := range append(cfg.ListenClientUrls, cfg.ListenClientHttpUrls...) {
		if u.Scheme != "unix" {
			t.Errorf("listens on %s, want unix sockets only", &u)
		}
	}
}

// The API server's own etcd client, health check and monitor take the endpoint as it is.
func TestAPIServerDialsTheSocket(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "etcd"))
	cfg := storagebackend.NewDefaultConfig("/registry", nil)
	cfg.Transport.ServerList = s.Endpoints()
	prober, err := factory.CreateProber(*cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = prober.Close() }()
	if err := prober.Probe(t.Context()); err != nil {
		t.Errorf("Probe: %v", err)
	}
	monitor, err := factory.CreateMonitor(*cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = monitor.Close() }()
	if got, err := monitor.Monitor(t.Context()); err != nil || got.Size == 0 {
		t.Errorf("Monitor = %+v, %v; want the size of the database", got, err)
	}
}

// lockedBuffer is a log that several goroutines may write.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
