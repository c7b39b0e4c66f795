// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

const (
	frontProxy = "front-proxy-client"
	audience   = "secret.grafana.app"
)

// world is a cluster and an authenticator that follows it.
type world struct {
	api               *kubeapi.Server
	proxyCA, clientCA *certs.CA
	authn             *Authenticator
}

func newWorld(t *testing.T, change ...func(*AuthenticationConfig)) *world {
	t.Helper()
	w := &world{api: kubeapi.Start(t), proxyCA: certs.NewCA(t, "front-proxy-ca"), clientCA: certs.NewCA(t, "client-ca")}
	w.api.SetConfigMap(t, w.data(nil))
	config := AuthenticationConfig{Client: w.api.Client(t), Audience: audience}
	for _, f := range change {
		f(&config)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var err error
	if w.authn, err = NewAuthenticator(ctx, config); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.authn.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// data is the ConfigMap with some keys changed.
func (w *world) data(change map[string]string) map[string]string {
	data := map[string]string{
		keyClientCA:      w.clientCA.PEM(),
		keyProxyCA:       w.proxyCA.PEM(),
		keyAllowedNames:  `["` + frontProxy + `"]`,
		keyUserHeaders:   `["X-Remote-User"]`,
		keyUIDHeaders:    `["X-Remote-Uid"]`,
		keyGroupHeaders:  `["X-Remote-Group"]`,
		keyExtraPrefixes: `["X-Remote-Extra-"]`,
	}
	maps.Copy(data, change)
	return data
}

// who is what a handler sees of a request.
type who struct {
	Name, UID string
	Groups    []string
	Extra     map[string][]string
	Header    http.Header
}

// listen serves who over TLS, with upstream's filter and a handshake that asks for certificates, as the API server
// does.
func (w *world) listen(t *testing.T, authn authenticator.Request) *httptest.Server {
	t.Helper()
	handler := http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		caller, _ := request.UserFrom(req.Context())
		_ = json.NewEncoder(rw).Encode(who{caller.GetName(), caller.GetUID(), caller.GetGroups(), caller.GetExtra(),
			req.Header})
	})
	refused := http.HandlerFunc(func(rw http.ResponseWriter,
		_ *http.Request) {
		rw.WriteHeader(http.StatusUnauthorized)
	})
	server := httptest.NewUnstartedServer(filters.WithAuthentication(handler, authn, refused, nil, w.authn.Headers()))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// call is one request.
type call struct {
	path        string
	certificate *tls.Certificate
	header      http.Header
	token       string
	// sessions makes TLS resume sessions.
	sessions tls.ClientSessionCache
}

// do sends a request on a separate connection. Nil: refused.
func (c call) do(t *testing.T, server *httptest.Server) (*who, *tls.ConnectionState) {
	t.Helper()
	config := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.ClientSessionCache = c.sessions
	if c.certificate != nil {
		// Sent whatever CAs the server names.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate,
			error) {
			return c.certificate, nil
		}
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	if c.path == "" {
		c.path = "/apis"
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+c.path, nil)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(req.Header, c.header)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	return send(t, &http.Client{Transport: transport}, req)
}

func send(t *testing.T, client *http.Client, req *http.Request) (*who, *tls.ConnectionState) {
	t.Helper()
	response, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, response.TLS
	}
	var w who
	if err := json.NewDecoder(response.Body).Decode(&w); err != nil {
		t.Fatal(err)
	}
	return &w, response.TLS
}

// wantUser wants a call to be a user's; "" wants it to be refused.
func wantUser(t *testing.T, server *httptest.Server, c call, name string) {
	t.Helper()
	got, _ := c.do(t, server)
	switch {
	case got == nil && name != "":
		t.Errorf("refused, want %s", name)
	case got != nil && got.Name != name:
		t.Errorf("is %s, want %q", got.Name, name)
	}
}

// remote are the headers of a front proxy.
func remote(name string, groups ...string) http.Header {
	return http.Header{"X-Remote-User": {name}, "X-Remote-Group": groups}
}

// eventually waits until something is true.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if done() {
			return
		}
	}
	t.Fatalf("waited in vain until %s", what)
}

var anonymous = user.Anonymous
