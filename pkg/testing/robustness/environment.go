// SPDX-License-Identifier: Apache-2.0

package robustness

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/testing/clock"
	"github.com/securevalue/secret-apiserver/pkg/testing/etcdcluster"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	replicas = 2
	members  = 3
	// patience bounds the wait for something to come back on a busy machine.
	patience = 90 * time.Second

	decryptToken = "token-of-k6"
	bindK6       = `
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: k6, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'secret.grafana.app:decrypter-k6-cloud'}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: k6}]
`
)

// environment is what a run works on.
type environment struct {
	etcd    *etcdcluster.Cluster
	kms     *plugin
	proxies [replicas][members]*proxy
	servers [replicas]*replica
	// keysFiles are --encryption-provider-config of each server, with the same content but for some faults; keys are
	// the local keys, newest first, and first names the key that seals. A backup may need those that were destroyed.
	keysFiles       [replicas]string
	first           string
	keys, destroyed []string
	// probers counts the clients of one write each.
	probers int
	// late is set for a server whose file of keys is not written.
	late [replicas]bool
	// direct is a client of etcd, past all faults of the ways to it.
	direct sealed.Etcd
	// prober asks whether a fault shows.
	prober *client
}

// replica is one server, which is another process after each restart.
type replica struct {
	options harness.Options
	// clock is nil unless clocks jump, shifts are how far it was off.
	clock  *clock.Clock
	shifts []time.Duration

	// away is set while the server is paused for long: clients use the other one, as a load balancer does.
	away atomic.Bool

	mu      sync.Mutex
	current *harness.Server
	all     []*harness.Server
}

func (r *replica) get() *harness.Server {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

// start starts the server, or starts it again on the same folder.
func (r *replica) start(t testing.TB) {
	t.Helper()
	s := harness.Start(t, r.options)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.options.DataDir = s.DataDir
	r.current, r.all = s, append(r.all, s)
}

// newEnvironment starts everything. With clocks, those of the servers can jump.
func newEnvironment(t *testing.T, h *History, clocks bool) *environment {
	t.Helper()
	options := etcdcluster.Options{Args: append([]string{fmt.Sprintf("--quota-backend-bytes=%d", quota)}, walArgs...)}
	if etcdcluster.CanMount() == nil {
		options.DiskBytes = diskBytes
	}
	e := &environment{etcd: etcdcluster.Start(t, members, options), kms: startPlugin(t)}
	e.direct = e.etcd.Client(t)
	t.Cleanup(func() { _ = e.direct.Close() })
	e.prober = &client{id: clients, env: e, history: h, seen: map[string]int64{}}
	for i := range e.keysFiles {
		e.keysFiles[i] = filepath.Join(t.TempDir(), "encryption.yaml")
	}
	e.addKey()
	e.writeKeys(t, true)
	for i := range e.servers {
		var urls []string
		for j, url := range e.etcd.Endpoints() {
			p, err := newProxy(context.WithoutCancel(t.Context()), url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.close)
			e.proxies[i][j] = p
			urls = append(urls, p.url())
		}
		e.servers[i] = &replica{options: e.options(e.keysFiles[i], "--etcd-servers="+strings.Join(urls, ","),
			"--decrypt-audit-instance="+instance(i))} // two servers of one host would share the host's name
	}
	if clocks {
		e.withClocks(t)
	}
	for _, r := range e.servers {
		r.start(t)
	}
	return e
}

func instance(server int) string { return "server-" + strconv.Itoa(server) }

// options are those of a server with a file of keys, and further flags.
func (e *environment) options(keysFile string, args ...string) harness.Options {
	return harness.Options{
		Tokens: []string{harness.Token(decryptToken, "k6")}, RBAC: []string{bindK6}, RBACFiles: []string{"config/rbac/decrypter-k6-cloud.yaml"},
		Args: append(args, "--encryption-provider-config="+keysFile, "--encryption-provider-config-automatic-reload",
			"-v=2", "--shutdown-delay-duration=0s"),
	}
}

// eventually waits until something is true, and reports whether it came to be.
func eventually(done func() bool) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if done() {
			return true
		}
	}
	return false
}
