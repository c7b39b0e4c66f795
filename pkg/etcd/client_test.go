// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/storage/storagebackend"
)

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
