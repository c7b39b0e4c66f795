// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"k8s.io/apiserver/pkg/storage/storagebackend"
)

// A data directory may be anywhere; the sockets then move to a place that can hold them.
func TestSocketPlacement(t *testing.T) {
	for _, tc := range []struct {
		name, sub string
		inDir     bool
	}{
		{"plain", "etcd", true},
		{"long", strings.Repeat("d", 120), false},
		{"space", "my data", false},
		{"percent", "50%2f", false},
		{"comma", "a,b", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("TMPDIR", shortTemp(t))
			dir := filepath.Join(shortTemp(t), tc.sub)
			s := start(t, dir)
			if got := strings.HasPrefix(s.Endpoints()[0], "unix://"+dir+"/"); got != tc.inDir {
				t.Errorf("endpoint %s in the member's directory: %t, want %t", s.Endpoints()[0], got, tc.inDir)
			}
			if _, err := dial(t, s).Put(t.Context(), "/k", "v"); err != nil {
				t.Errorf("Put: %v", err)
			}
			s.Stop()
			if left, _ := os.ReadDir(os.TempDir()); len(left) != 0 {
				t.Errorf("%s is not empty after Stop: %v", os.TempDir(), left)
			}
		})
	}
}

// A crash leaves sockets behind; the next start takes their place.
func TestStaleSocket(t *testing.T) {
	dir := filepath.Join(shortTemp(t), "etcd")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"client.sock", "http.sock", "probe.sock"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dial(t, start(t, dir)).Put(t.Context(), "/k", "v"); err != nil {
		t.Errorf("Put: %v", err)
	}
}

func TestNoPlaceForSockets(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "absent"))
	dir := filepath.Join(t.TempDir(), "my data")
	if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "socket") {
		t.Errorf("Start = %v, want an error about sockets", err)
	}
}

// shortTemp is a temporary directory whose path is short: that of t.TempDir holds the test's name.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// A server that starts before its etcd waits for a connection, and says what it looked for.
func TestWaitConnected(t *testing.T) {
	server, err := Start(t.Context(), Config{Dir: filepath.Join(t.TempDir(), "etcd")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	gone, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := "http://" + gone.Addr().String()
	if err := gone.Close(); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		servers  []string
		patience time.Duration
		want     error
	}{
		"etcd runs":       {server.Endpoints(), time.Minute, nil},
		"nobody is there": {[]string{nobody}, 50 * time.Millisecond, context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := New(storagebackend.TransportConfig{ServerList: test.servers})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			ctx, cancel := context.WithTimeout(t.Context(), test.patience)
			defer cancel()
			err = WaitConnected(ctx, client)
			if !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), "--etcd-servers "+nobody) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
}

func TestNewNamesTheFlagsOfFilesThatAreNotThere(t *testing.T) {
	_, err := New(storagebackend.TransportConfig{ServerList: []string{"https://127.0.0.1:1"}, TrustedCAFile: "/nowhere/ca.crt"})
	if err == nil || !strings.Contains(err.Error(), "--etcd-cafile") || !strings.Contains(err.Error(), "/nowhere/ca.crt") {
		t.Errorf("got %v", err)
	}
}

// Every way to write to etcd passes the gate, and reads never ask for room.
func TestGate(t *testing.T) {
	s := start(t, filepath.Join(t.TempDir(), "etcd"))
	var asked call
	kv := newGate(s.Client().KV, func(call call) error {
		asked = call
		if call == read {
			return nil
		}
		return ErrDiskFull
	})
	put, get, del := clientv3.OpPut("/k", "v"), clientv3.OpGet("/k"), clientv3.OpDelete("/k")
	for name, test := range map[string]struct {
		call func(ctx context.Context) error
		want call
	}{
		"put":                  {func(ctx context.Context) error { _, err := kv.Put(ctx, "/k", "v"); return err }, write},
		"get":                  {func(ctx context.Context) error { _, err := kv.Get(ctx, "/k"); return err }, read},
		"delete":               {func(ctx context.Context) error { _, err := kv.Delete(ctx, "/k"); return err }, housekeeping},
		"compact":              {func(ctx context.Context) error { _, err := kv.Compact(ctx, 1); return err }, housekeeping},
		"do":                   {func(ctx context.Context) error { _, err := kv.Do(ctx, put); return err }, write},
		"reserved":             {func(ctx context.Context) error { _, err := kv.Put(Reserved(ctx), "/k", "v"); return err }, housekeeping},
		"upstream's compactor": {func(ctx context.Context) error { _, err := kv.Put(ctx, compactRevKey, "1"); return err }, housekeeping},
		"transaction that puts": {func(ctx context.Context) error {
			_, err := kv.Txn(ctx).If().Then(put, del).Else(get).Commit()
			return err
		}, write},
		"transaction that puts otherwise": {func(ctx context.Context) error { _, err := kv.Txn(ctx).Else(put).Commit(); return err }, write},
		"transaction that deletes": {func(ctx context.Context) error {
			_, err := kv.Txn(ctx).Then(del).Else(get).Commit()
			return err
		}, housekeeping},
		"transaction in a transaction": {func(ctx context.Context) error {
			_, err := kv.Txn(ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{get}, []clientv3.Op{put})).Commit()
			return err
		}, write},
		"transaction that reads": {func(ctx context.Context) error { _, err := kv.Txn(ctx).Then(get).Commit(); return err }, read},
	} {
		asked = -1
		err := test.call(t.Context())
		if asked != test.want || (err == nil) != (test.want == read) {
			t.Errorf("%s: asked for %d, want %d; %v", name, asked, test.want, err)
		}
		if err != nil && !errors.Is(NoRoom(err), ErrDiskFull) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStopLeavesNoGoroutine(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	s := start(t, filepath.Join(t.TempDir(), "etcd"))
	if _, err := s.Client().Put(t.Context(), "/k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
}
