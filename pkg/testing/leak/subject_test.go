// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/collector"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

// port is one of the two that the server listens on.
type port int

const (
	apiPort port = iota
	decryptPort
)

// everyRequest of a million is traced.
const everyRequest = 1_000_000

var serviceToken = kubeapi.JWT("k6", "secret.grafana.app")

// subject is the server under test and the way to it.
type subject struct {
	*harness.Server
	// header names the user where a front proxy does. service is a client that shows no certificate.
	header  http.Header
	service *harness.Server
	// etcdDir is where etcd keeps everything, dirs are all folders that the server or etcd write to.
	etcdDir string
	dirs    []string
	// spans is what the collector received.
	spans string
	// etcdServers are set where the test can reach etcd by itself.
	etcdServers string
}

// authenticate adds the admin's credentials, or the service's.
func (s *subject) authenticate(request *http.Request, p port) {
	switch {
	case p == decryptPort:
		request.Header.Set("Authorization", "Bearer "+serviceToken)
	case s.header != nil:
		maps.Copy(request.Header, s.header)
	default:
		request.Header.Set("Authorization", "Bearer "+s.AdminToken)
	}
}

func startStandalone(t *testing.T) *subject {
	t.Helper()
	traces := collector.Start(t)
	s := harness.Start(t, harness.Options{
		Args:      []string{"--tracing-config-file=" + traces.Config(t, everyRequest)},
		Tokens:    []string{harness.Token(serviceToken, "k6")},
		RBACFiles: []string{"config/rbac/decrypter-k6-cloud.yaml"},
		RBAC: []string{`apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: k6, namespace: leaks}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'secret.grafana.app:decrypter-k6-cloud'}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: k6}]
`},
	})
	return &subject{
		Server: s, service: s, etcdDir: filepath.Join(s.DataDir, "etcd"), spans: traces.File,
		dirs: []string{filepath.Dir(s.LogFile), filepath.Dir(traces.File)},
	}
}

func startAggregated(t *testing.T) *subject {
	t.Helper()
	c := harness.NewCluster(t)
	c.AddNamespace(t, namespace, "Active")
	c.API.Allow(func(review authorizationv1.SubjectAccessReviewSpec) bool {
		return review.User == "admin" || review.User == "k6" && kubeapi.Grants("k6-cloud", review)
	})
	c.API.SetToken(serviceToken, kubeapi.Token{User: "k6", Audiences: []string{"secret.grafana.app"}})
	log := filepath.Join(t.TempDir(), "decrypt-audit")
	traces := collector.Start(t)
	s := harness.StartAggregated(t, c, "--decrypt-audit-log-path="+filepath.Join(log, "decrypt.log"),
		"--logging-format=json",
		"--tracing-config-file="+traces.Config(t, everyRequest))
	return &subject{
		Server: s.As(t, c.ProxyCA.Client(t, harness.FrontProxy)), service: s,
		header:  http.Header{"X-Remote-User": {"admin"}, "X-Remote-Group": {"system:authenticated"}},
		etcdDir: c.EtcdDir, dirs: []string{filepath.Dir(s.LogFile), c.EtcdDir, log, filepath.Dir(traces.File)},
		spans: traces.File, etcdServers: c.EtcdServers,
	}
}

// snapshot saves what an etcd backup is, where the test can reach etcd.
func (s *subject) snapshot(t *testing.T, file string) {
	t.Helper()
	if s.etcdServers == "" {
		return
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: strings.Split(s.etcdServers, ",")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	stream, err := client.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stream.Close() }()
	if _, err := io.Copy(create(t, file), stream); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() == 0 {
		t.Errorf("an empty snapshot: %v", err)
	}
}
