// SPDX-License-Identifier: Apache-2.0

package observe

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securevalue/secret-apiserver/pkg/controller/certificates"
)

// serveControllerMetrics issues the certificates of a cluster once and serves the registry of the controller manager,
// as it does. Issuing needs the Secrets of a kube-apiserver, which `make test-e2e` has and this suite has not.
func serveControllerMetrics(t *testing.T) *httptest.Server {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, discoveryv1.AddToScheme, apiregistrationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	issue(t, scheme, certificates.ServingAuthority("secret-system"))
	issue(t, scheme, certificates.EtcdAuthority("secret-system"))
	server := httptest.NewServer(promhttp.HandlerFor(metrics.Registry, promhttp.HandlerOpts{}))
	t.Cleanup(server.Close)
	return server
}

func issue(t *testing.T, scheme *runtime.Scheme, authority certificates.Authority) {
	t.Helper()
	builder := fake.NewClientBuilder().WithScheme(scheme)
	if authority.APIService != "" {
		builder = builder.WithObjects(&apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: authority.APIService}})
	}
	cluster := builder.Build()
	r := certificates.Reconciler{
		Authority: authority, Lifetimes: certificates.DefaultLifetimes(), Client: cluster, Reader: cluster,
		Prober: certificates.EndpointProber{Reader: cluster}, Events: events.NewFakeRecorder(100), Clock: clock.RealClock{},
	}
	if _, err := r.Reconcile(t.Context(), reconcile.Request{}); err != nil {
		t.Fatal(err)
	}
}

// fetch returns a page that needs no credentials.
func fetch(ctx context.Context, t *testing.T, url string) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %s %v", url, response.StatusCode, body, err)
	}
	return body
}
