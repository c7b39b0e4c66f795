// SPDX-License-Identifier: Apache-2.0

// Package certs issues certificates for tests. It must never be used for anything else: keys are in memory and in files
// of the test, and everything is valid for an hour.
package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"testing"
	"time"

	"k8s.io/client-go/util/keyutil"

	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

// CA signs certificates.
type CA struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// NewCA returns a root CA.
func NewCA(t testing.TB, name string) *CA {
	t.Helper()
	return newCA(t, name, nil, newKey(t))
}

// SubCA returns an intermediate CA of c. Its clients send its certificate with theirs.
func (c *CA) SubCA(t testing.TB, name string) *CA {
	t.Helper()
	return newCA(t, name, c, newKey(t))
}

// Renewed returns a CA with the key of c and another certificate.
func (c *CA) Renewed(t testing.TB, name string) *CA {
	t.Helper()
	return newCA(t, name, nil, c.key)
}

// newCA signs by itself without a parent.
func newCA(t testing.TB, name string, parent *CA, key crypto.Signer) *CA {
	t.Helper()
	template := newTemplate(pkix.Name{CommonName: name})
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign
	if parent == nil {
		parent = &CA{certificate: template, key: key}
	}
	return &CA{certificate: sign(t, template, key, parent), key: key}
}

// PEM is the CA's certificate.
func (c *CA) PEM() string { return string(pki.Encode(c.certificate)) }

// Pool contains the CA's certificate.
func (c *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(c.certificate)
	return pool
}

// Client issues a client certificate.
func (c *CA) Client(t testing.TB, name string, groups ...string) tls.Certificate {
	t.Helper()
	return c.Issue(t, func(*x509.Certificate) {}, name, groups...)
}

// ClientUntil issues a client certificate that expires at until.
func (c *CA) ClientUntil(t testing.TB, until time.Time, name string, groups ...string) tls.Certificate {
	t.Helper()
	return c.Issue(t, func(template *x509.Certificate) {
		template.NotBefore, template.NotAfter = until.Add(-2*time.Hour), until
	}, name, groups...)
}

// Issue issues a client certificate from a template that is changed first.
func (c *CA) Issue(t testing.TB, change func(*x509.Certificate), name string, groups ...string) tls.Certificate {
	t.Helper()
	template := newTemplate(pkix.Name{CommonName: name, Organization: groups})
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	change(template)
	return c.issue(t, template)
}

// Serving issues a certificate for 127.0.0.1 and returns it and its key as PEM.
func (c *CA) Serving(t testing.TB) (certificate, key string) {
	t.Helper()
	return c.serving(t, x509.ExtKeyUsageServerAuth)
}

// ServingAndClient issues a certificate for 127.0.0.1 for servers and clients, as members of etcd need.
func (c *CA) ServingAndClient(t testing.TB) (certificate, key string) {
	t.Helper()
	return c.serving(t, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
}

func (c *CA) serving(t testing.TB, usage ...x509.ExtKeyUsage) (certificate, key string) {
	t.Helper()
	template := newTemplate(pkix.Name{CommonName: "server"})
	template.ExtKeyUsage = usage
	template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	pair := c.issue(t, template)
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return string(pki.Encode(pair.Leaf)), string(keyPEM)
}

func (c *CA) issue(t testing.TB, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key := newKey(t)
	certificate := sign(t, template, key, c)
	sent := [][]byte{certificate.Raw}
	if c.certificate.Issuer.String() != c.certificate.Subject.String() {
		sent = append(sent, c.certificate.Raw)
	}
	return tls.Certificate{Certificate: sent, PrivateKey: key, Leaf: certificate}
}

func newTemplate(subject pkix.Name) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		Subject: subject, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, template *x509.Certificate, key crypto.Signer, by *CA) *x509.Certificate {
	t.Helper()
	certificate, err := pki.Sign(template, key, by.certificate, by.key)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}
