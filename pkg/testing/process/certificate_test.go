// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

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

// A serving certificate that is due (here it is gone; the clock is tested in pkg/standalone) is issued again on both ports. A watch
// and the connection that it is on go on.
func TestServingCertificateIsRenewedWhileTheServerRuns(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{})
	events := bufio.NewReader(watch(t, s, "renewal"))
	seen := func(name string) {
		t.Helper()
		create(t, s, "renewal", name, harness.Canary())
		if line, err := events.ReadString('\n'); err != nil || !strings.Contains(line, name) {
			t.Fatalf("the watch: %v %s", err, line)
		}
	}
	seen("before")
	first := served(t, s.URL)
	if got := metric(t, s, expiry+`{use="serving"}`); got != float64(first.NotAfter.Unix()) {
		t.Errorf("%s is %v for a certificate that ends at %d", expiry, got, first.NotAfter.Unix())
	}
	for _, use := range []string{"serving-ca", "loopback"} {
		if metric(t, s, expiry+`{use="`+use+`"}`) <= float64(first.NotAfter.Unix()) {
			t.Errorf("%s of %s is not after that of the serving certificate", expiry, use)
		}
	}
	if err := os.Remove(filepath.Join(s.DataDir, "pki", "serving.crt")); err != nil {
		t.Fatal(err)
	}
	s.Signal(t, syscall.SIGHUP) // the next look is within a minute otherwise
	for _, port := range []string{s.URL, s.DecryptURL} {
		eventually(t, "the new certificate is served", func() bool { return !served(t, port).Equal(first) })
	}
	seen("after")
	s.Leaks(t)
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
	if got := code(t, again, "/readyz", ""); got != http.StatusOK { // by the CA of the folder
		t.Errorf("/readyz: %d", got)
	}
}
