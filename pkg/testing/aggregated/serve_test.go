// SPDX-License-Identifier: Apache-2.0

package aggregated

import (
	"net/http"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// One value from its creation to its deletion, as kube-apiserver passes requests on.
func TestServe(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	c.API.Allow(allowUsers("ann"))
	s := harness.StartAggregated(t, c)
	proxy := s.As(t, c.ProxyCA.Client(t, harness.FrontProxy))
	value := harness.Canary()

	created := create(t, proxy, "default", "one", value, remote("ann"))
	if created.Code != http.StatusCreated {
		t.Fatalf("create: %d %s", created.Code, created.Body)
	}
	if !strings.Contains(string(created.Body), `"grafana.app/createdBy":"ann"`) {
		t.Errorf("want ann as the creator: %s", created.Body)
	}
	if code := list(t, proxy, "", remote("ann")); code != http.StatusOK {
		t.Errorf("list: %d", code)
	}
	if code := list(t, proxy, "", remote("bob")); code != http.StatusForbidden {
		t.Errorf("list as somebody without rights: %d, want 403", code)
	}
	deleted := proxy.Do(t, harness.Request{Method: http.MethodDelete, Path: harness.Collection("default") + "/one", Header: remote("ann")})
	if deleted.Code != http.StatusOK {
		t.Errorf("delete: %d %s", deleted.Code, deleted.Body)
	}
	// The cluster has a garbage collector: its finalizer is added, and it is this object that waits for it. Its value
	// is gone.
	if got := create(t, proxy, "default", "two", value, remote("ann")); got.Code != http.StatusCreated || got.Header.Get("Warning") != "" {
		t.Errorf("create: %d, Warning %q", got.Code, got.Header.Get("Warning"))
	}
	two := harness.Collection("default") + "/two"
	owned := proxy.Do(t, harness.Request{
		Method: http.MethodPatch, Path: two, Header: remote("ann"), ContentType: "application/merge-patch+json",
		Body: `{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"owner","uid":"a"}]}}`,
	})
	if owned.Code != http.StatusOK || owned.Header.Get("Warning") != "" {
		t.Errorf("an owner: %d, Warning %q", owned.Code, owned.Header.Get("Warning"))
	}
	waiting := proxy.Do(t, harness.Request{Method: http.MethodDelete, Path: two + "?propagationPolicy=Foreground", Header: remote("ann")})
	if !strings.Contains(string(waiting.Body), `"finalizers":["foregroundDeletion"]`) || strings.Contains(string(waiting.Body), `"key"`) {
		t.Errorf("delete with policy Foreground: %d %s", waiting.Code, waiting.Body)
	}
	s.Stop(t)
	s.Leaks(t, value)
}
