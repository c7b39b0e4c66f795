// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptrace"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/testing/clock"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const expiry = "secret_certificate_expiry_timestamp_seconds"

// served returns the certificate that a new connection gets, whatever its dates are.
func served(t *testing.T, url string) *x509.Certificate {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}} //nolint:gosec // looked at, not trusted
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// Two thirds of its life after it was issued, the serving certificate is issued again on both ports, and clients whose
// clocks agree verify it. Open connections, and the watch on one of them, go on. The test is not parallel: its server
// takes minutes to build the first time.
func TestServingCertificateIsRenewedWhileTheServerRuns(t *testing.T) {
	wall := clock.New(t)
	s := harness.Start(t, harness.Options{Program: clock.Server(t), Env: []string{wall.Env()}})
	events := bufio.NewReader(s.Watch(t, harness.Collection("renewal")+"?watch=true", s.AdminToken))
	seen := func(name string) {
		t.Helper()
		s.Create(t, "renewal", name, harness.Canary())
		if line, err := events.ReadString('\n'); err != nil || !strings.Contains(line, name) {
			t.Fatalf("the watch: %v %s", err, line)
		}
	}
	ports := []string{s.URL, s.DecryptURL}
	seen("before")
	for _, port := range ports {
		usesOpenConnection(t, s, port) // opens that of the decrypt port
	}
	first := served(t, s.URL)
	if got := s.Metric(t, expiry+`{use="serving"}`); got != float64(first.NotAfter.Unix()) {
		t.Errorf("%s is %v for a certificate that ends at %d", expiry, got, first.NotAfter.Unix())
	}
	for _, use := range []string{"serving-ca", "loopback"} {
		if s.Metric(t, expiry+`{use="`+use+`"}`) <= float64(first.NotAfter.Unix()) {
			t.Errorf("%s of %s is not after that of the serving certificate", expiry, use)
		}
	}
	twoThirds := first.NotAfter.Sub(first.NotBefore) * 2 / 3
	wall.Jump(t, twoThirds-time.Hour)
	s.Signal(t, syscall.SIGHUP) // the next look is within a minute otherwise
	harness.Eventually(t, "the server looked", func() bool { return strings.Contains(s.Log(t), "SIGHUP") })
	seen("early")
	for _, port := range ports {
		if !served(t, port).Equal(first) {
			t.Errorf("%s: the certificate was issued again before it was due", port)
		}
	}
	wall.Jump(t, twoThirds+time.Hour)
	s.Signal(t, syscall.SIGHUP)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(harness.ReadFile(t, s.CAFile))
	for _, port := range ports {
		harness.Eventually(t, "the new certificate is served", func() bool { return !served(t, port).Equal(first) })
		cert := served(t, port)
		later := x509.VerifyOptions{DNSName: "localhost", Roots: roots, CurrentTime: first.NotAfter}
		if _, err := cert.Verify(later); err != nil || !cert.NotAfter.After(first.NotAfter) {
			t.Errorf("%s: a certificate until %s, when the first one ends: %v", port, cert.NotAfter, err)
		}
		if got := s.Metric(t, expiry+`{use="serving"}`); got != float64(cert.NotAfter.Unix()) {
			t.Errorf("%s is %v for a certificate that ends at %d", expiry, got, cert.NotAfter.Unix())
		}
		if !usesOpenConnection(t, s, port) {
			t.Errorf("%s: the connection was lost", port)
		}
	}
	seen("after")
	s.Leaks(t)
}

// usesOpenConnection sends a request and reports whether it went over a connection that was there.
func usesOpenConnection(t *testing.T, s *harness.Server, url string) (reused bool) {
	t.Helper()
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { reused = info.Reused }}
	request, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, url+"/livez", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+s.AdminToken)
	response, err := s.HTTPClient().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return reused
}

// Names and addresses of --tls-san verify; a change of the set issues the certificate again, for the same CA.
func TestTLSSANs(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Args: []string{"--bind-address=0.0.0.0", "--tls-san=secrets.example.com,192.0.2.7", "--tls-san=*.example.org"}})
	cert := served(t, s.URL)
	for _, name := range []string{"secrets.example.com", "192.0.2.7", "a.example.org", "localhost", "127.0.0.1"} {
		if err := cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	if out := string(harness.ReadFile(t, s.OutFile)); !strings.Contains(out, "secrets.example.com") || !strings.Contains(out, "https://127.0.0.1:") {
		t.Errorf("the banner does not name the names: %s", out)
	}
	s.Stop(t)
	again := harness.Start(t, harness.Options{DataDir: s.DataDir})
	if served(t, again.URL).VerifyHostname("secrets.example.com") == nil {
		t.Error("a name that is not asked for any more is still in the certificate")
	}
	if got := again.Get(t, "/readyz", "").Code; got != http.StatusOK { // by the CA of the folder
		t.Errorf("/readyz: %d", got)
	}
}
