// SPDX-License-Identifier: Apache-2.0

package aggregated

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// quota is a ResourceQuota as the quota controller leaves it.
func quota(namespace, hard, used string) map[string]any {
	limit := map[string]any{"count/securevalues.secret.grafana.app": hard}
	return map[string]any{
		"apiVersion": "v1", "kind": "ResourceQuota", "metadata": map[string]any{"namespace": namespace, "name": "quota"},
		"spec":   map[string]any{"hard": limit},
		"status": map[string]any{"hard": limit, "used": map[string]any{"count/securevalues.secret.grafana.app": used}},
	}
}

func TestNamespaces(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	c.API.Allow(allowUsers("ann"))
	c.AddNamespace(t, "going", "Terminating")
	s := harness.StartAggregated(t, c)
	proxy := s.As(t, c.ProxyCA.Client(t, harness.FrontProxy))
	value := harness.Canary()
	for namespace, want := range map[string]int{"default": http.StatusCreated, "none": http.StatusNotFound, "going": http.StatusForbidden} {
		if got := create(t, proxy, namespace, "one", value, remote("ann")); got.Code != want {
			t.Errorf("create in %s: %d %s, want %d", namespace, got.Code, got.Body, want)
		} else if found := harness.Find(got.Body, value); len(found) > 0 {
			t.Errorf("the answer of %s holds %v", namespace, found)
		}
	}
	c.AddNamespace(t, "none", "Active") // one that was just created is not missing
	if got := create(t, proxy, "none", "one", value, remote("ann")); got.Code != http.StatusCreated {
		t.Errorf("create in a namespace that was just made: %d %s", got.Code, got.Body)
	}
	s.Stop(t)
	s.Leaks(t, value)
}

// Many writers at once get as many values in as the quota allows, and the rest an answer that says why.
func TestQuotaUnderConcurrency(t *testing.T) {
	t.Parallel()
	const limit, writers = 7, 40
	c := harness.NewCluster(t)
	c.API.Allow(allowUsers("ann"))
	c.API.Set(t, "resourcequotas", quota("default", fmt.Sprint(limit), "0"))
	s := harness.StartAggregated(t, c)
	proxy := s.As(t, c.ProxyCA.Client(t, harness.FrontProxy))
	value := harness.Canary()
	answers := make([]harness.Response, writers)
	var running sync.WaitGroup
	for i := range writers {
		running.Go(func() { answers[i] = create(t, proxy, "default", fmt.Sprint("value-", i), value, remote("ann")) })
	}
	running.Wait()
	created := 0
	for _, answer := range answers {
		switch status := answer.Code; {
		case status == http.StatusCreated:
			created++
		case status != http.StatusForbidden || answer.Status(t).Reason != metav1.StatusReasonForbidden:
			t.Errorf("answer %d %s", status, answer.Body)
		}
		if found := harness.Find(answer.Body, value); len(found) > 0 {
			t.Errorf("an answer holds %v", found)
		}
	}
	if created != limit {
		t.Errorf("%d values were created, want %d", created, limit)
	}
	if got := create(t, proxy, "other", "one", value, remote("ann")); got.Code != http.StatusCreated {
		t.Errorf("create in a namespace without a quota: %d %s", got.Code, got.Body)
	}
	s.Stop(t)
	s.Leaks(t, value)
}
