// SPDX-License-Identifier: Apache-2.0

// Package certs issues certificates for tests. It must never be used for anything else: keys lie in memory and in files
// of the test, and everything is valid for an hour.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// CA signs certificates.
type CA struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewCA returns a CA of its own.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	template, key := newCATemplate(t, name), newKey(t)
	return &CA{certificate: sign(t, template, template, key, key), key: key}
}

// SubCA returns a CA that c vouches for. Its clients send its certificate with theirs.
func (c *CA) SubCA(t testing.TB, name string) *CA {
	t.Helper()
	key := newKey(t)
	return &CA{certificate: sign(t, newCATemplate(t, name), c.certificate, key, c.key), key: key}
}

// Renewed returns a CA with the key of c and another certificate.
func (c *CA) Renewed(t testing.TB, name string) *CA {
	t.Helper()
	template := newCATemplate(t, name)
	return &CA{certificate: sign(t, template, template, c.key, c.key), key: c.key}
}

func newCATemplate(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	template := newTemplate(t, pkix.Name{CommonName: name})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	return template
}

// PEM is the CA's certificate.
func (c *CA) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.certificate.Raw}))
}

// Pool holds the CA's certificate.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.certificate)
	return pool
}

// Client issues a client certificate.
func (c *CA) Client(t testing.TB, name string, groups ...string) tls.Certificate {
	t.Helper()
	return c.ClientUntil(t, time.Now().Add(time.Hour), name, groups...)
}

// ClientUntil issues a client certificate that expires, or expired, then.
func (c *CA) ClientUntil(t testing.TB, until time.Time, name string, groups ...string) tls.Certificate {
	t.Helper()
	template := newTemplate(t, pkix.Name{CommonName: name, Organization: groups})
	template.NotBefore, template.NotAfter = until.Add(-2*time.Hour), until
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return c.issue(t, template)
}

// Serving issues a certificate for 127.0.0.1 and returns it and its key as PEM.
func (c *CA) Serving(t testing.TB) (certificate, key string) {
	t.Helper()
	return c.serving(t, x509.ExtKeyUsageServerAuth)
}

// ServingAndClient issues a certificate for 127.0.0.1 that is good for both ends, as members of etcd need.
func (c *CA) ServingAndClient(t testing.TB) (certificate, key string) {
	t.Helper()
	return c.serving(t, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

func (c *CA) serving(t testing.TB, usage ...x509.ExtKeyUsage) (certificate, key string) {
	t.Helper()
	template := newTemplate(t, pkix.Name{CommonName: "server"})
	template.ExtKeyUsage = usage
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	pair := c.issue(t, template)
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func (c *CA) issue(t testing.TB, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key := newKey(t)
	certificate := sign(t, template, c.certificate, key, c.key)
	sent := [][]byte{certificate.Raw}
	if c.certificate.Issuer.String() != c.certificate.Subject.String() {
		sent = append(sent, c.certificate.Raw)
	}
	return tls.Certificate{Certificate: sent, PrivateKey: key, Leaf: certificate}
}

func newTemplate(t testing.TB, subject pkix.Name) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
