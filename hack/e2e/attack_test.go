// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/securevalue/secret-apiserver/hack/e2e/controlplane"
	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// root of the cluster, as the aggregator would name it.
var forged = http.Header{"X-Remote-User": {"system:admin"}, "X-Remote-Group": {"system:masters"}}

// answer is what a request got.
type answer struct {
	code    int
	message string
	body    string
}

// send asks a URL with a certificate, a token and headers, each of which may be missing. Header names are sent as
// given.
func send(t *testing.T, url string, ca *pki.CA, certificate *pki.Pair, token string, headers http.Header) (answer, error) {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM())
	config := &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	if certificate != nil {
		pair, err := tls.X509KeyPair(certificate.Certificate, certificate.Key)
		if err != nil {
			t.Fatal(err)
		}
		// Sent whatever CAs the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true} // HTTP/1.1: it keeps the case of names
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(request.Header, headers)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return answer{}, err
	}
	var status metav1.Status
	_ = json.Unmarshal(body, &status)
	return answer{response.StatusCode, status.Message, string(body)}, nil
}

func mustClient(t *testing.T, ca *pki.CA, name string, groups ...string) *pki.Pair {
	t.Helper()
	pair, err := ca.Client(name, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// TestForgedFrontProxyHeaders sends the aggregator's headers to our port as everybody but the aggregator can.
func TestForgedFrontProxyHeaders(t *testing.T) {
	namespace := newNamespace(t)
	create(t, namespace, "held")
	token := newServiceAccount(t, namespace, "nobody")
	strangers, err := pki.NewCA("strangers")
	if err != nil {
		t.Fatal(err)
	}
	const front = controlplane.FrontProxyName
	for _, test := range []struct {
		name        string
		certificate *pki.Pair
		token       string
		headers     http.Header
		want        int
		// as must be named in the refusal.
		as string
	}{
		{"the aggregator itself", mustClient(t, cluster.FrontProxyCA, front), "", forged, http.StatusOK, ""},
		{"no certificate", nil, "", forged, http.StatusUnauthorized, ""},
		{"another name of the front proxy's CA", mustClient(t, cluster.FrontProxyCA, "front-proxy-client2"), "", forged, http.StatusUnauthorized, ""},
		{"the name in another case", mustClient(t, cluster.FrontProxyCA, "Front-Proxy-Client"), "", forged, http.StatusUnauthorized, ""},
		{"no name", mustClient(t, cluster.FrontProxyCA, ""), "", forged, http.StatusUnauthorized, ""},
		{"the right name of a stranger's CA", mustClient(t, strangers, front), "", forged, http.StatusUnauthorized, ""},
		{"the right name of the cluster's CA", mustClient(t, cluster.ClientCA, front), "", forged, http.StatusForbidden, `"` + front + `"`},
		{"a user of the cluster", mustClient(t, cluster.ClientCA, "eve"), "", forged, http.StatusForbidden, `"eve"`},
		{"a token", nil, token, forged, http.StatusForbidden, `:nobody"`},
		{"names in other cases", mustClient(t, cluster.ClientCA, "eve"), "", http.Header{
			"x-remote-user": {"system:admin"}, "X-REMOTE-GROUP": {"system:masters"}, "x-Remote-Extra-scopes": {"a"},
		}, http.StatusForbidden, `"eve"`},
		{"a name twice", mustClient(t, cluster.ClientCA, "eve"), "", http.Header{
			"X-Remote-User": {"eve", "system:admin"}, "X-Remote-Group": {"system:authenticated", "system:masters"},
		}, http.StatusForbidden, `"eve"`},
		{"impersonation", mustClient(t, cluster.ClientCA, "eve"), "", http.Header{
			"Impersonate-User": {"system:admin"}, "Impersonate-Group": {"system:masters"},
		}, http.StatusForbidden, `"eve"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, replica := range server.Replicas {
				got, err := send(t, replica.URL+harness.Collection(namespace), server.CA, test.certificate, test.token, test.headers)
				if err != nil {
					t.Fatal(err)
				}
				if got.code != test.want || !strings.Contains(got.message, test.as) {
					t.Errorf("got %d %s, want %d %s", got.code, got.message, test.want, test.as)
				}
			}
		})
	}
}

// TestForgedHeadersThroughTheAggregator sends them where they would be believed if they were passed on.
func TestForgedHeadersThroughTheAggregator(t *testing.T) {
	namespace := newNamespace(t)
	token := newServiceAccount(t, namespace, "nobody")
	bind(t, namespace, "nobody", "ClusterRole", "secret.grafana.app:securevalues-creator") // lets kube-apiserver pass a POST only
	for name, headers := range map[string]http.Header{
		"as they are":     forged,
		"in another case": {"x-remote-user": {"system:admin"}, "X-REMOTE-GROUP": {"system:masters"}},
		"twice":           {"X-Remote-User": {"system:admin", "system:admin"}, "X-Remote-Group": {"system:masters", "system:masters"}},
		"extra and uid":   {"X-Remote-Uid": {"0"}, "X-Remote-Extra-Scopes": {"all"}, "X-Remote-Group": {"system:masters"}},
	} {
		got, err := send(t, cluster.URL+harness.Collection(namespace), cluster.ClientCA, nil, token, headers)
		if err != nil {
			t.Fatal(err)
		}
		if got.code != http.StatusForbidden || !strings.Contains(got.message, `:nobody"`) {
			t.Errorf("%s: %d %s", name, got.code, got.message)
		}
	}
}

// TestUpgradeIsRefused since an upgraded connection would pass everything that looks at requests.
func TestUpgradeIsRefused(t *testing.T) {
	namespace := newNamespace(t)
	admin := mustClient(t, cluster.ClientCA, "root", "system:masters")
	for way, to := range map[string]struct {
		url string
		ca  *pki.CA
	}{
		"aggregator": {cluster.URL, cluster.ClientCA}, "direct": {server.Replicas[0].URL, server.CA},
	} {
		for _, protocol := range []string{"websocket", "SPDY/3.1", "h2c"} {
			got, err := send(t, to.url+harness.Collection(namespace)+"?watch=true&timeoutSeconds=1", to.ca, admin, "", http.Header{
				"Connection": {"Upgrade"}, "Upgrade": {protocol},
				"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Version": {"13"},
			})
			if err != nil || got.code < 400 || got.code >= 500 {
				t.Errorf("%s, %s: got %d %s (%v), want a refusal", way, protocol, got.code, got.message, err)
			}
		}
	}
}

// TestEmptiedAllowedNames empties the list of the front proxy's names, which upstream reads as "any name".
func TestEmptiedAllowedNames(t *testing.T) {
	namespace := newNamespace(t)
	other := mustClient(t, cluster.FrontProxyCA, "anybody")
	front := mustClient(t, cluster.FrontProxyCA, controlplane.FrontProxyName)
	expect := func(certificate *pki.Pair, want int) func(context.Context) error {
		return func(context.Context) error {
			for _, replica := range server.Replicas {
				got, err := send(t, replica.URL+harness.Collection(namespace), server.CA, certificate, "", forged)
				if err != nil || got.code != want {
					return fmt.Errorf("%s: want %d, got %d %s: %w", replica.URL, want, got.code, got.message, errors.Join(err, errors.New("answered")))
				}
			}
			return nil
		}
	}
	defer func() { // not t.Cleanup: by then the context of the test is gone
		setAllowedNames(t, `["`+controlplane.FrontProxyName+`"]`)
		eventually(t, "the aggregator is believed again", expect(front, http.StatusOK))
	}()
	setAllowedNames(t, `[]`)
	eventually(t, "the aggregator is not believed any more", expect(front, http.StatusUnauthorized))
	if err := expect(other, http.StatusUnauthorized)(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := asAdmin(t, namespace).List(t.Context(), metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("an administrator through the aggregator: %v", err)
	}
}

// setAllowedNames edits what kube-apiserver published.
func setAllowedNames(t *testing.T, names string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"data": map[string]string{"requestheader-allowed-names": names}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = cluster.Admin.CoreV1().ConfigMaps("kube-system").Patch(context.Background(), "extension-apiserver-authentication",
		types.MergePatchType, body, metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
}
