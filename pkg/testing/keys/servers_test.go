// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/testing/etcdcluster"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// waitServers waits until the report of a database lists servers that satisfy done.
func waitServers(t *testing.T, database []string, what string, done func([]sealed.Server) bool) []sealed.Server {
	t.Helper()
	var servers []sealed.Server
	harness.Eventually(t, what, func() bool {
		found, stderr, code := report(t, database...)
		if code != 0 {
			t.Fatalf("code %d: %s", code, stderr)
		}
		servers = found.Servers
		return done(servers)
	})
	return servers
}

func count(n int) func([]sealed.Server) bool {
	return func(servers []sealed.Server) bool { return len(servers) == n }
}

// A server lists its keys in the report until it stops. A refused file and a reload show.
func TestReportListsTheServer(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Args: []string{"--rewrap=false"}})
	file, good := filepath.Join(s.DataDir, "encryption.yaml"), filepath.Join(t.TempDir(), "good.yaml")
	harness.WriteFile(t, good, string(harness.ReadFile(t, file)))
	data := []string{"--data-dir=" + s.DataDir, "--encryption-provider-config=" + good}
	before := waitServers(t, data, "the server is listed", count(1))[0]
	if before.Instance != "standalone" || before.Version == "" || before.Fence != sealed.Fence || before.Loads != 1 ||
		len(before.Keys) != 1 || before.WriteKey != before.Keys[0] || before.Refused || before.Started.IsZero() {
		t.Errorf("got %+v", before)
	}
	s.Rotate(t, "fresh")
	after := waitServers(t, data, "the new write key is listed", func(servers []sealed.Server) bool {
		return len(servers) == 1 && servers[0].WriteKey == "aesgcm/fresh"
	})[0]
	if after.Loads != 2 || len(after.Keys) != 2 || !slices.Contains(after.Keys, before.WriteKey) ||
		!after.Started.Equal(before.Started) || after.Loaded.Equal(before.Loaded) {
		t.Errorf("got %+v after %+v", after, before)
	}
	series := `secret_servers{version="` + after.Version + `",write_key="aesgcm/fresh"}`
	harness.Eventually(t, "the metric has the new write key", func() bool { return s.Metric(t, series) == 1 })
	table, _, _ := harness.Tool(t, append([]string{"keys", "report"}, data...)...)
	if !containsBoth(table, "SERVER", "WRITE KEY") || !containsBoth(table, "standalone", "aesgcm/fresh") {
		t.Errorf("the table does not list the server:\n%s", table)
	}
	harness.WriteFile(t, file, "garbage")
	waitServers(t, data, "the refused file shows", func(servers []sealed.Server) bool { return servers[0].Refused })
	s.Kill() // its announcement is still in the folder
	if found, stderr, code := report(t, data...); code != 0 || len(found.Servers) != 0 {
		t.Errorf("code %d: a server that does not run is listed: %+v %s", code, found.Servers, stderr)
	}
}

// Two servers of one name are two entries. One that is paused for longer than its lease, and both after an outage of
// etcd, come back; the outage is logged once, and a stop during it is not delayed.
func TestAnnouncementsOutliveOutages(t *testing.T) {
	t.Parallel()
	cluster := etcdcluster.Start(t, 1, etcdcluster.Options{})
	database := []string{"--etcd-servers=" + strings.Join(cluster.Endpoints(), ",")}
	var twins [2]*harness.Server
	for i := range twins {
		twins[i] = harness.Start(t, harness.Options{Args: []string{database[0], "--rewrap=false", "--decrypt-port=0", "--decrypt-audit-instance=twin"}})
	}
	for _, s := range waitServers(t, database, "both are listed", count(2)) {
		if s.Instance != "twin" {
			t.Errorf("got %+v", s)
		}
	}

	client, canary := cluster.Client(t), harness.Canary()
	defer func() { _ = client.Close() }()
	const foreign = "/registry/secret.grafana.app/servers/foreign"
	if _, err := client.Put(t.Context(), foreign, canary); err != nil {
		t.Fatal(err)
	}
	table, stderr, code := harness.Tool(t, "keys", "report", database[0])
	if code != 0 || !containsBoth(table, "foreign", "not an announcement") || len(harness.Find([]byte(table+stderr), canary)) > 0 {
		t.Errorf("code %d: %s%s", code, table, stderr)
	}
	if _, err := client.Delete(t.Context(), foreign, clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}

	twins[1].Signal(t, syscall.SIGSTOP)
	waitServers(t, database, "the paused one is gone", count(1))
	twins[1].Signal(t, syscall.SIGCONT)
	waitServers(t, database, "it is listed again", count(2))

	const lost, back = "This server is not announced in etcd", "This server is announced in etcd again"
	cluster.Members[0].Kill()
	before := strings.Count(twins[0].Log(t), lost)
	harness.Eventually(t, "the outage is logged", func() bool { return strings.Count(twins[0].Log(t), lost) > before })
	twins[1].Stop(t)
	cluster.Members[0].Start(t)
	harness.Eventually(t, "the end is logged", func() bool { return strings.Contains(twins[0].Log(t), back) })
	waitServers(t, database, "the one that runs is listed", count(1))
	if n := strings.Count(twins[0].Log(t), lost); n != before+1 {
		t.Errorf("the outage is logged %d times", n-before)
	}
	twins[0].Stop(t)
	if found, _, _ := report(t, database...); len(found.Servers) != 0 {
		t.Errorf("a stopped server is listed: %+v", found.Servers)
	}
}

// A server in a cluster is listed under the name of its host.
func TestReportListsAServerInACluster(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	s := harness.StartAggregated(t, c)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	database := []string{"--etcd-servers=" + c.EtcdServers}
	if found := waitServers(t, database, "the server is listed", count(1))[0]; found.Instance != host || found.WriteKey != "aesgcm/test" {
		t.Errorf("got %+v", found)
	}
	s.Stop(t)
	if found, _, _ := report(t, database...); len(found.Servers) != 0 {
		t.Errorf("a stopped server is listed: %+v", found.Servers)
	}
}
