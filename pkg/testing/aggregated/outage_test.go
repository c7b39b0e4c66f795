// SPDX-License-Identifier: Apache-2.0

package aggregated

import (
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

// probe is the readiness probe that docs/cluster.md names.
const probe = "/readyz?exclude=etcd&exclude=etcd-readiness&exclude=kms-providers"

// What the rest of the cluster needs of this server, it answers without etcd: else every namespace would be stuck, and
// helm.
func TestEtcdIsDown(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	c.API.Allow(allowUsers("ann"))
	s := harness.StartAggregated(t, c)
	proxy := s.As(t, c.ProxyCA.Client(t, harness.FrontProxy))
	create(t, proxy, "one", harness.Canary(), remote("ann")).Want(t, http.StatusCreated)
	c.StopEtcd()
	harness.Eventually(t, "/readyz says so", func() bool { return s.Get(t, "/readyz", "").Code == http.StatusInternalServerError })
	masters := remote("system:kube-aggregator", "system:masters")
	for _, path := range []string{"/apis", "/apis/secret.grafana.app", "/apis/secret.grafana.app/v1beta1", "/openapi/v2", "/openapi/v3", "/openapi/v3/apis/secret.grafana.app/v1beta1"} {
		if got := proxy.Do(t, harness.Request{Method: http.MethodGet, Path: path, Header: masters}).Code; got != http.StatusOK {
			t.Errorf("%s: %d without etcd, want 200", path, got)
		}
	}
	cached := proxy.Do(t, harness.Request{Method: http.MethodGet, Path: harness.Collection("default") + "?resourceVersion=0", Header: remote("ann")})
	if cached.Code != http.StatusOK || !strings.Contains(string(cached.Body), `"name":"one"`) {
		t.Errorf("a list of any age: %d %s", cached.Code, cached.Body)
	}
	for _, path := range []string{"/livez", probe} {
		if got := s.Get(t, path, "").Code; got != http.StatusOK {
			t.Errorf("%s: %d without etcd, want 200", path, got)
		}
	}
}

// kube-apiserver may be away: what was decided for that is one answer each, and never a right.
func TestKubeAPIServerIsDown(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	c.API.Allow(allowUsers("ann"))
	s := harness.StartAggregated(t, c, "--authorization-webhook-cache-authorized-ttl=0s")
	proxy := s.As(t, c.ProxyCA.Client(t, harness.FrontProxy))
	c.API.SetDown(true)
	for what, test := range map[string]struct{ got, want int }{
		"a user who would have to be asked about": {list(t, proxy, "", remote("ann")), http.StatusInternalServerError},
		"system:masters": {list(t, proxy, "", remote("root", "system:masters")), http.StatusOK},
		"a token":        {list(t, s, "token", nil), http.StatusUnauthorized},
		"a token for the decrypt port": {
			s.Decrypt(t, kubeapi.JWT("token", audience), "default", "one").Code, http.StatusUnauthorized,
		},
		"/livez":              {s.Get(t, "/livez", "").Code, http.StatusOK},
		"the readiness probe": {s.Get(t, probe, "").Code, http.StatusOK},
	} {
		if test.got != test.want {
			t.Errorf("%s: %d, want %d", what, test.got, test.want)
		}
	}
	c.API.SetDown(false)
	if got := list(t, proxy, "", remote("ann")); got != http.StatusOK {
		t.Errorf("list once it is back: %d", got)
	}
}

// What kube-apiserver serves itself is not served a second time.
func TestNotServed(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	s := harness.StartAggregated(t, c)
	proxy := s.As(t, c.ProxyCA.Client(t, harness.FrontProxy))
	masters := remote("root", "system:masters")
	for _, path := range []string{"/apis/authorization.k8s.io", "/apis/authentication.k8s.io", "/api", "/debug/pprof/heap"} {
		if got := proxy.Do(t, harness.Request{Method: http.MethodGet, Path: path, Header: masters}).Code; got != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, got)
		}
	}
}

// A server that is told to stop says that it is not ready and serves on, for those who have not heard of it yet.
func TestStop(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	c.API.Allow(allowUsers("ann"))
	s := harness.StartAggregated(t, c, "--shutdown-delay-duration=5s")
	proxy := s.As(t, c.ProxyCA.Client(t, harness.FrontProxy))
	s.Signal(t, syscall.SIGTERM)
	harness.Eventually(t, "it is not ready", func() bool { return s.Get(t, probe, "").Code != http.StatusOK })
	value := harness.Canary()
	if got := create(t, proxy, "one", value, remote("ann")); got.Code != http.StatusCreated {
		t.Errorf("create while stopping: %d %s", got.Code, got.Body)
	}
	if err := s.Wait(t); err != nil {
		t.Errorf("it ended with %v", err)
	}
	s.Leaks(t, value)
}
