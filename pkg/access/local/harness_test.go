// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
)

// writeFile puts content in a fresh folder and returns the path.
func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	rewrite(t, path, content)
	return path
}

func rewrite(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func newAuthenticator(t *testing.T, config Config) *Authenticator {
	t.Helper()
	a, err := New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// settle checks every file as often as it takes to apply a change.
func settle(ctx context.Context, a *Authenticator) {
	for range 2 {
		for _, s := range a.files {
			s.Check(ctx, false)
		}
	}
}

// testServer is the generic server's authentication filter behind a real TLS listener.
type testServer struct {
	*httptest.Server
}

func serve(t *testing.T, a *Authenticator) *testServer {
	t.Helper()
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	scheme.AddUnversionedTypes(schema.GroupVersion{Version: "v1"}, &metav1.Status{})
	echo := http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		who, _ := request.UserFrom(req.Context())
		_ = json.NewEncoder(w).Encode(who)
	})
	handler := filters.WithAuthentication(echo, a.Request(), filters.Unauthorized(serializer.NewCodecFactory(scheme)),
		nil, nil)
	handler = filters.WithRequestInfo(handler, server.NewRequestInfoResolver(&server.Config{}))
	s := httptest.NewUnstartedServer(handler)
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return &testServer{s}
}

// get sends one request over a separate connection; a nil cert means none, an empty header none.
func (s *testServer) get(t *testing.T, path, authorization string, cert *tls.Certificate) (int, *user.DefaultInfo,
	string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return s.do(t, req, cert)
}

func (s *testServer) do(t *testing.T, req *http.Request, cert *tls.Certificate) (int, *user.DefaultInfo, string) {
	t.Helper()
	config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	if cert != nil {
		// Sent even when the server names other CAs.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	who := &user.DefaultInfo{}
	if resp.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, who); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, who, string(body)
}

// client issues a client certificate for alice of devs from a template that change may alter.
func client(t *testing.T, ca *certs.CA, change func(*x509.Certificate)) *tls.Certificate {
	t.Helper()
	if change == nil {
		change = func(*x509.Certificate) {}
	}
	certificate := ca.Issue(t, change, "alice", "devs")
	return &certificate
}

// code is the answer to a client that has nothing but a certificate.
func (s *testServer) code(t *testing.T, cert *tls.Certificate) int {
	t.Helper()
	code, _, _ := s.get(t, secretsPath, "", cert)
	return code
}
