// SPDX-License-Identifier: Apache-2.0

package process

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// What answers whom: anonymous callers see the health paths and nothing else.
func TestEndpoints(t *testing.T) {
	s := harness.Start(t, harness.Options{})
	for path, want := range map[string]struct{ anonymous, admin int }{
		"/livez": {200, 200}, "/readyz": {200, 200}, "/healthz": {200, 200},
		"/livez?verbose": {200, 200}, "/readyz?verbose": {200, 200}, "/healthz?verbose": {200, 200},
		"/livez/ping": {403, 200}, "/readyz/etcd": {403, 200}, "/livezz": {401, 404}, "/livez/../apis": {401, 404},
		"/metrics": {401, 200}, "/version": {401, 200}, "/openapi/v2": {401, 200}, "/openapi/v3": {401, 200},
		"/apis": {401, 200}, "/apis/secret.grafana.app": {401, 200}, "/apis/secret.grafana.app/v1beta1": {401, 200},
		"/apis/authorization.k8s.io/v1": {401, 200}, "/api": {401, 404}, "/": {401, 404},
		"/debug/pprof/": {401, 404}, "/debug/pprof/heap": {401, 404}, "/debug/flags/v": {401, 404}, "/logs": {401, 404},
		"/configz": {401, 404}, "/flagz": {401, 404}, harness.Collection("default"): {401, 200},
	} {
		if got := s.Get(t, path, "").Code; got != want.anonymous {
			t.Errorf("GET %s without credentials: %d, want %d", path, got, want.anonymous)
		}
		if got := s.Get(t, path, "wrong").Code; got != http.StatusUnauthorized {
			t.Errorf("GET %s with a wrong token: %d, want 401", path, got)
		}
		if got := s.Get(t, path, s.AdminToken).Code; got != want.admin {
			t.Errorf("GET %s as admin: %d, want %d", path, got, want.admin)
		}
	}
	t.Run("checks", func(t *testing.T) { wantChecks(t, s) })
	t.Run("version", func(t *testing.T) {
		if version := get(t, s, "/version").Object(t); version["gitVersion"] == "" || version["platform"] == "" {
			t.Errorf("/version: %v", version)
		}
	})
	t.Run("metrics", func(t *testing.T) {
		metrics := string(get(t, s, "/metrics").Body)
		for _, name := range []string{"apiserver_request_total", "etcd_request_duration_seconds", "go_goroutines", "process_resident_memory_bytes"} {
			if !strings.Contains(metrics, "\n"+name) {
				t.Errorf("/metrics has no %s", name)
			}
		}
	})
	t.Run("discovery", func(t *testing.T) { wantDiscovery(t, s) })
	t.Run("OpenAPI", func(t *testing.T) { wantOpenAPI(t, s) })
}

func get(t *testing.T, s *harness.Server, path string) harness.Response {
	t.Helper()
	return s.Get(t, path, s.AdminToken).Want(t, http.StatusOK)
}

// wantChecks: unavailable etcd and keys make the server not ready, and do not restart it.
func wantChecks(t *testing.T, s *harness.Server) {
	t.Helper()
	ready, live := string(get(t, s, "/readyz?verbose").Body), string(get(t, s, "/livez?verbose").Body)
	for _, check := range []string{"[+]etcd ok", "[+]etcd-readiness ok", "[+]kms-providers ok", "[+]shutdown ok", "readyz check passed"} {
		if !strings.Contains(ready, check) {
			t.Errorf("/readyz has no %q:\n%s", check, ready)
		}
	}
	if !strings.Contains(live, "[+]ping ok") || strings.Contains(live, "etcd") || strings.Contains(live, "kms") {
		t.Errorf("/livez:\n%s", live)
	}
}

// wantDiscovery: testdata/discovery.json has the resources.
func wantDiscovery(t *testing.T, s *harness.Server) {
	t.Helper()
	var groups []string
	for _, group := range get(t, s, "/apis").Object(t)["groups"].([]any) {
		groups = append(groups, group.(map[string]any)["name"].(string))
	}
	if diff := cmp.Diff([]string{"secret.grafana.app", "authorization.k8s.io", "authentication.k8s.io"}, groups); diff != "" {
		t.Errorf("/apis (-want +got):\n%s", diff)
	}
}

func wantOpenAPI(t *testing.T, s *harness.Server) {
	t.Helper()
	for path, keys := range map[string][]string{
		"/openapi/v2": {"definitions"},
		"/openapi/v3/apis/secret.grafana.app/v1beta1": {"components", "schemas"},
	} {
		response := get(t, s, path)
		if strings.Contains(string(response.Body), "__internal") || strings.Contains(strings.ToLower(string(response.Body)), `"sealed"`) ||
			strings.Contains(string(response.Body), "sealedFrom") {
			t.Errorf("%s tells of the internal version", path)
		}
		models := response.Object(t)
		for _, key := range keys {
			models = models[key].(map[string]any)
		}
		found := 0
		for name, model := range models {
			if strings.HasSuffix(name, ".v1beta1.SecureValue") || strings.HasSuffix(name, ".v1beta1.SecureValueList") {
				found++
				wantModel(t, path, name, model.(map[string]any))
			}
		}
		if found != 2 {
			t.Errorf("%s has %d of the models SecureValue and SecureValueList", path, found)
		}
	}
}

// wantModel checks a model for what server-side apply and kubectl explain need.
func wantModel(t *testing.T, path, name string, model map[string]any) {
	t.Helper()
	kind := name[strings.LastIndex(name, ".")+1:]
	want := []any{map[string]any{"group": "secret.grafana.app", "kind": kind, "version": "v1beta1"}}
	if diff := cmp.Diff(want, model["x-kubernetes-group-version-kind"]); diff != "" {
		t.Errorf("%s: %s (-want +got):\n%s", path, name, diff)
	}
	if model["description"] == nil {
		t.Errorf("%s: %s has no description", path, name)
	}
	for field, property := range model["properties"].(map[string]any) {
		if property.(map[string]any)["description"] == nil {
			t.Errorf("%s: %s.%s has no description", path, name, field)
		}
	}
}
