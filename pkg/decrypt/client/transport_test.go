// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/util/keyutil"

	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

// authority is a CA.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key := must(pki.NewKey())
	ca := pki.CA(name, time.Now(), time.Now().Add(time.Hour))
	return authority{must(pki.Sign(ca, key, ca, key)), key}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (a authority) pem() string { return string(pki.Encode(a.certificate)) }

// sign returns a certificate for the server of a test, or for a client of that name.
func (a authority) sign(t *testing.T, name string, spoil func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := must(pki.NewKey())
	leaf := pki.Leaf(name, []string{"127.0.0.1"}, a.certificate, time.Now(), time.Hour)
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	if spoil != nil {
		spoil(leaf)
	}
	signed := must(pki.Sign(leaf, key, a.certificate, a.key))
	return tls.Certificate{Certificate: [][]byte{signed.Raw}, PrivateKey: key}
}

// present lets the server show another certificate, on new connections.
func (s *server) present(certificate tls.Certificate, change func(*tls.Config)) {
	secure := &tls.Config{Certificates: []tls.Certificate{certificate}, NextProtos: []string{"h2"}}
	if change != nil {
		change(secure)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.secure = secure
}

func (s *server) handshakes() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shakes
}

func wantOne(t *testing.T, c *Client, what string) {
	t.Helper()
	if value, err := c.GetOne(t.Context(), "default", "a"); err != nil || value.Expose() != "one" {
		t.Fatalf("%s: Get = %v", what, err)
	}
}

func TestReplacedCA(t *testing.T) {
	s := newServer(t)
	s.set("a", "one")
	c := s.client(t)
	wantOne(t, c, "before")
	ca := newAuthority(t, "next")
	writeFile(t, s.caFile, ca.pem())
	wantOne(t, c, "over the old connection")
	if s.handshakes() != 1 {
		t.Errorf("%d handshakes, want one", s.handshakes())
	}
	s.present(ca.sign(t, "server", nil), nil)
	s.CloseClientConnections()
	wantOne(t, c, "with the new CA")
	writeFile(t, s.caFile, "half a file")
	s.CloseClientConnections()
	wantOne(t, c, "with an unreadable file")

	s.present(newAuthority(t, "other").sign(t, "server", nil), nil)
	s.CloseClientConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := c.GetOne(ctx, "default", "a")
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) || strings.Count(err.Error(), s.caFile) < 2 || !strings.Contains(err.Error(), "contains no certificate") {
		t.Errorf("Get with an unknown authority = %v, want it and what is wrong with the file", err)
	}
}

// TestAttackCertificate: what crypto/tls would refuse is refused, over any number of good connections before.
func TestAttackCertificate(t *testing.T) {
	ca := newAuthority(t, "ca")
	for name, test := range map[string]struct {
		spoil  func(*x509.Certificate)
		secure func(*tls.Config)
		config func(*Config)
		works  bool
	}{
		"good":            {works: true},
		"of another host": {spoil: func(c *x509.Certificate) { c.IPAddresses[0] = []byte{127, 0, 0, 2} }},
		"of no host":      {spoil: func(c *x509.Certificate) { c.IPAddresses = nil }},
		"expired":         {spoil: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }},
		"not yet valid":   {spoil: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }},
		"of a client":     {spoil: func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }},
		"old TLS":         {secure: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS11, tls.VersionTLS11 }},
		"other name":      {config: func(c *Config) { c.ServerName = "secret-decrypt" }},
		"name": {
			spoil:  func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"secret-decrypt"} },
			config: func(c *Config) { c.ServerName = "secret-decrypt" }, works: true,
		},
		"CAs of the system": {config: func(c *Config) { c.CAFile = "" }},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			s.set("a", "one")
			s.present(ca.sign(t, "server", test.spoil), test.secure)
			writeFile(t, s.caFile, ca.pem())
			config := s.config()
			config.Timeout = 200 * time.Millisecond
			if test.works {
				config.Timeout = time.Minute
			}
			if test.config != nil {
				test.config(&config)
			}
			c := must(New(config))
			defer c.Close()
			if _, err := c.GetOne(t.Context(), "default", "a"); (err == nil) != test.works || !test.works && s.requests() != 0 {
				t.Errorf("Get = %v, %d requests came through", err, s.requests())
			}
		})
	}
}

func TestReplacedClientCertificate(t *testing.T) {
	s := newServer(t)
	s.set("a", "one")
	ca, name := newAuthority(t, "ca"), "first"
	s.present(ca.sign(t, "server", nil), func(c *tls.Config) { c.ClientAuth = tls.RequireAnyClientCert })
	s.allow = func(r *http.Request) bool {
		return r.ProtoMajor == 2 && r.Header.Get("User-Agent") == "checkout/1" && r.TLS.PeerCertificates[0].Subject.CommonName == name
	}
	writeFile(t, s.caFile, ca.pem())
	dir := t.TempDir()
	config := Config{
		URL: s.URL, CAFile: s.caFile, CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key"), UserAgent: "checkout/1",
	}
	writePair := func(name string) {
		pair := ca.sign(t, name, nil)
		writeFile(t, config.CertFile, string(pki.Encode(must(x509.ParseCertificate(pair.Certificate[0])))))
		writeFile(t, config.KeyFile, string(must(keyutil.MarshalPrivateKeyToPEM(pair.PrivateKey))))
	}
	writePair("first")
	c := must(New(config))
	t.Cleanup(c.Close)
	wantOne(t, c, "first")
	writePair("second")
	s.mu.Lock()
	name = "second"
	s.mu.Unlock()
	wantOne(t, c, "second")
	if s.handshakes() != 2 {
		t.Errorf("%d handshakes, want two", s.handshakes())
	}
	writeFile(t, config.KeyFile, "half a file")
	s.CloseClientConnections()
	wantOne(t, c, "with an unreadable key")
	s.mu.Lock()
	name = "third"
	s.mu.Unlock()
	if _, err := c.GetOne(t.Context(), "default", "a"); !errors.Is(err, ErrUnauthenticated) || s.handshakes() != 3 {
		t.Errorf("Get with an old certificate = %v after %d handshakes, want three", err, s.handshakes())
	}
}

func TestTokenIsReadEveryMinute(t *testing.T) {
	s := newServer(t)
	s.set("a", "one")
	c := s.client(t)
	files := c.http.Transport.(*transport)
	older := func() { files.mu.Lock(); defer files.mu.Unlock(); files.read = files.read.Add(-tokenAge) }
	writeFile(t, s.tokenFile, "token-2")
	wantOne(t, c, "within a minute")
	s.mu.Lock()
	s.token, s.seen = "token-2", 0
	s.mu.Unlock()
	older()
	wantOne(t, c, "after a minute")
	if err := os.Remove(s.tokenFile); err != nil {
		t.Fatal(err)
	}
	older()
	wantOne(t, c, "without a file")
	if s.requests() != 2 {
		t.Errorf("%d requests, want two: none was refused", s.requests())
	}
}

// breaking is a connection that breaks under the first request, and before one that hangs if it is the only one.
type breaking struct {
	http.RoundTripper
	broken bool
}

func (b *breaking) RoundTrip(request *http.Request) (*http.Response, error) {
	if !b.broken {
		b.broken = true
		return nil, &net.OpError{Op: "write", Err: syscall.EPIPE}
	}
	if b.RoundTripper == nil {
		<-request.Context().Done()
		return nil, request.Context().Err()
	}
	return b.RoundTripper.RoundTrip(request)
}

func TestBrokenConnection(t *testing.T) {
	s := newServer(t)
	s.set("a", "one")
	c := s.client(t)
	c.http.Transport = &breaking{RoundTripper: c.http.Transport}
	wantOne(t, c, "over another connection")
	c.http.Transport = &breaking{}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.GetOne(ctx, "default", "a"); !errors.Is(err, ErrUnavailable) || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Get that has no time left = %v, want what was wrong before", err)
	}
}
