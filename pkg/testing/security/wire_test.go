// SPDX-License-Identifier: Apache-2.0

package security

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/kmsplugin"
)

// everyPath are addresses of both ports: what is served, what nearly is, and what never was.
var everyPath = []string{
	harness.Collection("default"), harness.Collection("default") + "/a", harness.Collection("default") + "/a/rewrap",
	harness.Collection("default") + "/", harness.Collection("default") + "//a", harness.Collection("default") +
		"/a/proxy/x",
	harness.Collection("default") + "/a/exec", harness.Collection("default") + "/a/attach",
	harness.Collection("default") + "/a/portforward",
	"/apis/secret.grafana.app/v1beta1/watch/namespaces/default/securevalues?timeoutSeconds=1",
	"/apis/secret.grafana.app/v1beta1/proxy/x",
	"/apis/secret.grafana.app", "/apis/secret.grafana.app/", "/apis", "/apis/", "/api", "/", "/swagger-ui",
	"/swaggerapi", "/ui",
	"/openapi/v2", "/openapi/v3", "/openapi/v3/apis/secret.grafana.app/v1beta1", "/openapi", "/metrics", "/metrics/",
	"/livez", "/livez/",
	"/readyz/", "/healthz/", "/version", "/version/", "/logs", "/logs/", "/debug/pprof", "/debug/pprof/", "/configz",
	"/flagz", "/statusz",
	harness.DecryptPath("default", "a"), harness.DecryptPath("default", "a") + "/", "/decrypt/v1", "/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues",
	"/.well-known/openid-configuration", "//evil.example/", "/%2fevil.example", "/\\evil.example", "/apis/..",
	"/apis/../metrics", "/" + harness.Collection("default"), "//example.com/..", "/apis//secret.grafana.app", "/apis/../apis",
	"/openapi/v3/apis/secret.grafana.app/v1beta1?hash=stale", "/swagger.json",
}

// TestIncident06NoUpgrade: an upgraded connection through the aggregator kept kube-apiserver's credentials
// (CVE-2018-1002105, CVE-2020-8559).
func TestIncident06NoUpgrade(t *testing.T) {
	s := start(t)
	s.Create(t, "default", "a", "value", "k6-cloud")
	for _, server := range []*harness.Server{s, s.OnDecryptPort()} {
		for _, path := range everyPath {
			for name, header := range map[string]http.Header{
				"websocket": {"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
					"Sec-Websocket-Key": {"AAAAAAAAAAAAAAAAAAAAAA=="}},
				"SPDY":       {"Connection": {"keep-alive, upgrade"}, "Upgrade": {"SPDY/3.1"}},
				"h2c":        {"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}, "Http2-Settings": {""}},
				"name alone": {"Upgrade": {"x"}},
			} {
				got := doHTTP1(t, server, http.MethodGet, path, header)
				if got.Code == http.StatusSwitchingProtocols || got.Code < 400 || got.Code >= 500 {
					t.Errorf("%s of %s: %d", name, path, got.Code)
				}
			}
		}
	}
}

// doHTTP1 sends a request by HTTP/1.1, which alone knows upgrades, as the admin.
func doHTTP1(t *testing.T, s *harness.Server, method, path string, header http.Header) harness.Response {
	t.Helper()
	transport := s.HTTPClient().Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2, transport.TLSNextProto = false, nil
	transport.TLSClientConfig.NextProtos = []string{"http/1.1"}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(t.Context(), method, s.URL, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.URL.Opaque = strings.TrimPrefix(s.URL, "https:") + path // as it is written, not as Go would write it
	request.Header = header.Clone()
	request.Header.Set("Authorization", "Bearer "+s.AdminToken)
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	_ = response.Body.Close()
	return harness.Response{Code: response.StatusCode, Header: response.Header}
}

// TestIncident07NoRedirect: an aggregated server that redirects had kube-apiserver send its credentials elsewhere
// (CVE-2022-3172).
func TestIncident07NoRedirect(t *testing.T) {
	s := start(t)
	s.Create(t, "default", "a", "value", "k6-cloud")
	for _, server := range []*harness.Server{s, s.OnDecryptPort()} {
		for _, path := range everyPath {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut,
				http.MethodOptions} {
				header := http.Header{"Host": {"evil.example"}, "X-Forwarded-Host": {"evil.example"},
					"X-Forwarded-Uri": {"/x"}}
				got := doHTTP1(t, server, method, path, header)
				if got.Code >= 300 && got.Code < 400 || got.Header.Get("Location") != "" {
					t.Errorf("%s %s is answered with %d to %q", method, path, got.Code, got.Header.Get("Location"))
				}
			}
		}
	}
}

// TestIncident09CallersHeadersReachNoBackend: servers handed the caller's token on to plugins (CVE-2026-4525) and data
// sources (CVE-2022-31130, CVE-2022-39201). The KMS plugin is the one backend that a request leads to.
func TestIncident09CallersHeadersReachNoBackend(t *testing.T) {
	p := kmsplugin.Start(t)
	config := filepath.Join(t.TempDir(), "encryption.yaml")
	harness.WriteFile(t, config, "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"+
		"- resources: [securevalues.secret.grafana.app]\n  providers:\n"+p.Provider("vault"))
	options := access("--encryption-provider-config=" + config)
	token, planted := harness.Canary(), harness.Canary()
	options.Tokens = append(options.Tokens, harness.Token(token, "k6"))
	s := harness.Start(t, options)
	header := http.Header{
		"Cookie": {"session=" + planted}, "X-Remote-User": {planted}, "X-Remote-Extra-Scopes": {planted},
		"X-Grafana-Id": {planted},
		"Traceparent":  {"00-" + strings.Repeat("ab", 16) + "-" + strings.Repeat("cd", 8) + "-01"},
		"Baggage":      {"a=" + planted}, "Grpc-Metadata-A": {planted},
	}
	for _, name := range []string{"a", "b"} {
		s.Do(t, harness.Request{
			Method: http.MethodPost, Path: harness.Collection("default"), Token: s.AdminToken, Header: header,
			Body: harness.Object(t, name, "value", "k6-cloud"),
		}).Want(t, http.StatusCreated)
	}
	before := p.Calls().Decrypt
	s.Stop(t) // a new server knows no data key, so that opening asks the plugin
	options.DataDir = s.DataDir
	s = harness.Start(t, options)
	got := s.OnDecryptPort().Do(t, harness.Request{Method: http.MethodGet, Path: harness.DecryptPath("default", "a"), Token: token,
		Header: header})
	if got.Code != http.StatusOK || p.Calls().Decrypt == before {
		t.Fatalf("%d %s, calls %+v: the plugin was not asked", got.Code, got.Body, p.Calls())
	}
	known := []string{":authority", "content-type", "grpc-accept-encoding", "user-agent"}
	for name, values := range p.Metadata() {
		if !slices.Contains(known, name) {
			t.Errorf("the plugin is sent the header %s: %q", name, values)
		}
		if found := harness.Find([]byte(strings.Join(values, "\n")), token, planted); len(found) > 0 {
			t.Errorf("the plugin is sent %v", found)
		}
	}
	if len(p.Metadata()) == 0 {
		t.Error("no headers were seen")
	}
}

// TestIncident11NamesThatMeanSomethingElse: `..` reached other paths (CVE-2026-3605), letter case another policy
// (CVE-2025-5999, CVE-2025-64761). getter may see the object "a" in default and nothing else.
func TestIncident11NamesThatMeanSomethingElse(t *testing.T) {
	s := start(t)
	hidden := harness.Canary()
	s.Create(t, "default", "a", "value", "k6-cloud")
	s.Create(t, "default", "b", hidden, "k6-cloud")
	s.Create(t, "other", "a", hidden, "k6-cloud")
	all := harness.Collection("default")
	for _, odd := range []string{
		"/b", "/a/../b", "/./b", "//b", "/a%2f..%2fb", "/%2e%2e/b", "/a%2fb", "/b%00a", "/a;b", "/b;a", "/A", "/a%20",
		"/%20a", "/a%0a", "/ａ", "/a%e2%80%8b",
		"/../../other/securevalues/a", "/%2e%2e/%2e%2e/other/securevalues/a", "?name=a", "/b?name=a", "/b#/a",
		"/b/rewrap/../../a", "/a/rewrap",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodPatch, http.MethodDelete,
			http.MethodPost} {
			got := doOpaque(t, s, method, all+odd, getterToken)
			if got.Code < 400 || got.Code >= 500 {
				t.Errorf("%s %s: %d %s", method, odd, got.Code, got.Body)
			}
		}
	}
	if value, code := open(t, s, "b"); value != hidden || code != http.StatusOK {
		t.Errorf("b was touched: %d", code)
	}
}

// doOpaque sends a path as it is written.
func doOpaque(t *testing.T, s *harness.Server, method, path, token string) harness.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.URL, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	request.URL.Opaque = strings.TrimPrefix(s.URL, "https:") + path
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := s.HTTPClient().Do(request)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	_ = response.Body.Close()
	return harness.Response{Code: response.StatusCode, Header: response.Header}
}
