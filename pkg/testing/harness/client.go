// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Collection is the path of securevalues in a namespace.
func Collection(namespace string) string {
	return "/apis/secret.grafana.app/v1beta1/namespaces/" + namespace + "/securevalues"
}

// Request is one HTTP request as a client sends it.
type Request struct {
	Method, Path string
	// Token is the bearer token; "" sends none.
	Token string
	// ContentType is sent if set: requests without one, as curl sends them, are a separate case.
	ContentType string
	// Header has further fields.
	Header http.Header
	Body   string
	// Stream is sent instead of Body if set.
	Stream io.Reader
}

// Response is what came back.
type Response struct {
	Code   int
	Header http.Header
	Body   []byte
}

// Want returns the response, and fails the test when it has another code.
func (r Response) Want(t testing.TB, code int) Response {
	t.Helper()
	if r.Code != code {
		t.Fatalf("got %d %.500s, want %d", r.Code, r.Body, code)
	}
	return r
}

// Status decodes a metav1.Status and fails the test when the body is something else.
func (r Response) Status(t testing.TB) metav1.Status {
	t.Helper()
	var status metav1.Status
	if err := json.Unmarshal(r.Body, &status); err != nil || status.Kind != "Status" {
		t.Fatalf("want a Status with code %d, got %q (%v)", r.Code, r.Body, err)
	}
	return status
}

// Object decodes a JSON object.
func (r Response) Object(t testing.TB) map[string]any {
	t.Helper()
	var object map[string]any
	if err := json.Unmarshal(r.Body, &object); err != nil {
		t.Fatalf("want a JSON object with code %d, got %q (%v)", r.Code, r.Body, err)
	}
	return object
}

// Send sends a request and returns the response with its body unread. The caller closes it.
func (s *Server) Send(ctx context.Context, r Request) (*http.Response, error) {
	body := r.Stream
	if body == nil {
		body = strings.NewReader(r.Body)
	}
	request, err := http.NewRequestWithContext(ctx, r.Method, s.URL+r.Path, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(request.Header, r.Header)
	if r.Token != "" {
		request.Header.Set("Authorization", "Bearer "+r.Token)
	}
	if r.ContentType != "" {
		request.Header.Set("Content-Type", r.ContentType)
	}
	return s.client.Do(request)
}

// Do sends a request and reads the whole response.
func (s *Server) Do(t testing.TB, r Request) Response {
	t.Helper()
	response, err := s.Send(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Response{Code: response.StatusCode, Header: response.Header, Body: body}
}

// Object is a SecureValue in JSON. Without a value it has no spec.value.
func Object(t testing.TB, name, value string, decrypters ...string) string {
	t.Helper()
	spec := map[string]any{"description": "a test", "decrypters": decrypters}
	if value != "" {
		spec["value"] = value
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"name": name, "labels": map[string]string{"team": "a"}}, "spec": spec,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// Create stores a value as the admin and returns the object in the response.
func (s *Server) Create(t testing.TB, namespace, name, value string, decrypters ...string) map[string]any {
	t.Helper()
	response := s.Do(t, Request{
		Method: http.MethodPost, Path: Collection(namespace), Token: s.AdminToken, Body: Object(t, name, value, decrypters...),
	}).Want(t, http.StatusCreated)
	return response.Object(t)
}

// DecryptPath is the path of a value on the decrypt port.
func DecryptPath(namespace, name string) string {
	return "/decrypt/v1/namespaces/" + namespace + "/secrets/" + name + "/decrypt"
}

// OnDecryptPort is the same server, addressed at its decrypt port.
func (s *Server) OnDecryptPort() *Server {
	port := *s
	port.URL = s.DecryptURL
	return &port
}

// Watch opens a watch, or another response that does not end by itself, until the test ends.
func (s *Server) Watch(t testing.TB, path, token string) io.Reader {
	t.Helper()
	response, err := s.Send(t.Context(), Request{Method: http.MethodGet, Path: path, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s", path, response.Status)
	}
	return response.Body
}

// TLS trusts the server's CA, for clients that are not HTTPClient.
func (s *Server) TLS(protocols ...string) *tls.Config {
	config := s.client.Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos, config.ServerName = protocols, "localhost"
	return config
}

// HTTPClient trusts the server's CA and follows no redirect.
func (s *Server) HTTPClient() *http.Client { return s.client }

// As returns a client of the same server that shows a certificate.
func (s *Server) As(t *testing.T, certificate tls.Certificate) *Server {
	t.Helper()
	other := *s
	other.client = newHTTPClient(t, s.CAFile)
	other.client.Transport.(*http.Transport).TLSClientConfig.GetClientCertificate =
		func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil } // whatever CAs the server names
	return &other
}

func newHTTPClient(t testing.TB, caFile string) *http.Client {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ReadFile(t, caFile)) {
		t.Fatalf("no certificate in %s", caFile)
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// RESTConfig is what a generated client needs; token "" means the admin's.
func (s *Server) RESTConfig(t testing.TB, token string) *restclient.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		config.BearerToken = token
	}
	config.QPS = -1 // no client-side limit
	return config
}

// Kubectl runs the pinned kubectl with the admin's kubeconfig.
func (s *Server) Kubectl(t testing.TB, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), KubectlBinary(t), append([]string{"--kubeconfig=" + s.Kubeconfig}, args...)...) //nolint:gosec // the pinned kubectl
	command.Env = append(command.Environ(), "HOME="+t.TempDir())
	var out, errs bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &errs
	err = command.Run()
	return out.String(), errs.String(), err
}
