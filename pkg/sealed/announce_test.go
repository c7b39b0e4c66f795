// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/util/wait"
)

// announceServer announces a server until stop is called. setKey changes its write key.
func announceServer(t *testing.T, client Etcd, instance string) (setKey func(string), stop func()) {
	t.Helper()
	var key atomic.Value
	key.Store("aesgcm/old")
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		Announce(ctx, client, etcdPrefix, instance, func() Server {
			name := key.Load().(string)
			return Server{Version: "v1.2.3", Fence: Fence, WriteKey: name, Keys: []string{name}}
		})
	})
	return func(name string) { key.Store(name) }, func() {
		cancel()
		group.Wait()
	}
}

// waitServers waits until the announced servers satisfy done, and returns them.
func waitServers(t *testing.T, kv clientv3.KV, done func([]Server) bool) []Server {
	t.Helper()
	var servers []Server
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true,
		func(ctx context.Context) (bool, error) {
			var err error
			servers, err = LiveServers(ctx, kv, etcdPrefix, 0)
			return done(servers), err
		})
	if err != nil {
		t.Fatalf("%v: %+v", err, servers)
	}
	return servers
}

func count(n int) func([]Server) bool {
	return func(servers []Server) bool { return len(servers) == n }
}

// TestAnnounce follows two servers of one name: neither replaces the other's announcement.
func TestAnnounce(t *testing.T) {
	t.Parallel()
	client := runEtcd(t).Client
	setKey, stop := announceServer(t, client, "pod/0")
	_, stopOther := announceServer(t, client, "pod/0")
	defer stopOther()
	for _, s := range waitServers(t, client, count(2)) {
		if s.Instance != "pod/0" || s.Version != "v1.2.3" || s.Fence != Fence || s.WriteKey != "aesgcm/old" ||
			len(s.Keys) != 1 || s.Fault != "" {
			t.Errorf("got %+v", s)
		}
	}
	got, err := client.Get(t.Context(), "x")
	if err != nil {
		t.Fatal(err)
	}
	setKey("aesgcm/new")
	waitServers(t, client, func(servers []Server) bool {
		return len(servers) == 2 && (servers[0].WriteKey == "aesgcm/new") != (servers[1].WriteKey == "aesgcm/new")
	})
	stop()
	now, err := LiveServers(t.Context(), client, etcdPrefix, 0)
	if err != nil || len(now) != 1 || now[0].WriteKey != "aesgcm/old" {
		t.Errorf("after the stop: %+v, %v", now, err)
	}
	before, err := LiveServers(t.Context(), client, etcdPrefix, got.Header.Revision)
	if err != nil || len(before) != 2 {
		t.Errorf("at the earlier revision: %+v, %v", before, err)
	}
	leases, err := client.Leases(t.Context())
	if err != nil || len(leases.Leases) != 1 {
		t.Errorf("a stopped server left its lease: %v, %v", leases, err)
	}
}

// TestAnnounceAfterLostLease takes the lease away, as etcd does while a process is paused.
func TestAnnounceAfterLostLease(t *testing.T) {
	t.Parallel()
	client := runEtcd(t).Client
	_, stop := announceServer(t, client, "a")
	defer stop()
	waitServers(t, client, count(1))
	leases, err := client.Leases(t.Context())
	if err != nil || len(leases.Leases) != 1 {
		t.Fatalf("%v, %v", leases, err)
	}
	lost := leases.Leases[0].ID
	if _, err := client.Revoke(t.Context(), lost); err != nil {
		t.Fatal(err)
	}
	waitServers(t, client, count(1))
	if left, err := client.TimeToLive(t.Context(), lost); err != nil || left.TTL != -1 {
		t.Errorf("the lost lease: %+v, %v", left, err)
	}
}

// TestAnnouncementEndsWithItsLease leaves an announcement that nothing keeps alive, as a killed server does.
func TestAnnouncementEndsWithItsLease(t *testing.T) {
	t.Parallel()
	client := runEtcd(t).Client
	lease, err := client.Grant(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	a := &announcer{client: client, prefix: etcdPrefix, name: "a", state: func() Server {
		return Server{Version: "v1"}
	}}
	if _, err := a.write(t.Context(), lease.ID, nil); err != nil {
		t.Fatal(err)
	}
	waitServers(t, client, count(0))
}

// TestForeignAnnouncements: what is not an announcement is listed as such, and never quoted.
func TestForeignAnnouncements(t *testing.T) {
	t.Parallel()
	client := runEtcd(t).Client
	lease, err := client.Grant(t.Context(), 600)
	if err != nil {
		t.Fatal(err)
	}
	held := "/" + leaseName(lease.ID)
	for name, value := range map[string]string{
		"garbage" + held: canary, "none" + held: "", "list" + held: `["` + canary + `"]`,
		"version" + held:         `{"version":"\u001b[2J` + canary + `"}`,
		"long" + held:            `{"version":"` + strings.Repeat(canary, 100) + `"}`,
		"other-lease/1":          `{"version":"v1"}`,
		"\x1b[2J\xff" + held:     `{"writeKey":"` + canary + `"}`,
		"keys" + held:            `{"version":"v1","writeKey":"\u001b[2J","keys":["a\nb"],"instance":"x","fault":"y"}`,
		strings.Repeat("n", 999): canary,
	} {
		if _, err := client.Put(t.Context(), announcementRoot(etcdPrefix)+name, value,
			clientv3.WithLease(lease.ID)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := client.Put(t.Context(), announcementRoot(etcdPrefix)+"no-lease/0", `{"version":"v1"}`); err != nil {
		t.Fatal(err)
	}
	servers, err := LiveServers(t.Context(), client, etcdPrefix, 0)
	if err != nil || len(servers) != 10 {
		t.Fatalf("%d servers, %v", len(servers), err)
	}
	for _, s := range servers {
		text, err := json.Marshal(s)
		if err != nil || strings.Contains(string(text), canary) || len(text) > 600 || len(s.Instance) > 253 ||
			strings.Contains(s.Instance, "\x1b") {
			t.Errorf("%s, %v", text, err)
		}
		if s.Instance == "keys" {
			if s.Fault != "" || s.WriteKey != "unreadable" || s.Keys[0] != "unreadable" {
				t.Errorf("got %+v", s)
			}
		} else if s.Fault == "" || s.Version != "" {
			t.Errorf("taken for a server: %+v", s)
		}
	}
}
