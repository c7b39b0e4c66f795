// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"

	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

// pair is a certificate and its key. The zero pair means that there is none.
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// parsePair returns the zero pair for anything but a certificate with its key: it will be issued again.
func parsePair(certPEM, keyPEM []byte) pair {
	certs, err := cert.ParseCertsPEM(certPEM)
	if err != nil {
		return pair{}
	}
	parsed, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return pair{}
	}
	if key, ok := parsed.(crypto.Signer); ok && pki.BelongsTo(certs[0], key) {
		return pair{cert: certs[0], key: key}
	}
	return pair{}
}

// newCA returns a CA for certificates of servers and clients.
func newCA(name string, now time.Time, life time.Duration) (pair, error) {
	template := pki.CA("secret-apiserver-"+name+"-ca", now, now.Add(life))
	key, err := pki.NewKey()
	if err != nil {
		return pair{}, err
	}
	made, err := pki.Sign(template, key, template, key)
	return pair{cert: made, key: key}, err
}

// issue issues a certificate with a new key.
func (p pair) issue(c Certificate, now time.Time, life time.Duration) (pair, error) {
	template := pki.Leaf(c.CommonName, c.DNSNames, p.cert, now, life)
	template.ExtKeyUsage = c.Usages
	key, err := pki.NewKey()
	if err != nil {
		return pair{}, err
	}
	made, err := pki.Sign(template, key, p.cert, p.key)
	return pair{cert: made, key: key}, err
}

// canSign reports whether p is a CA that is valid now.
func (p pair) canSign(now time.Time) bool {
	return p.cert != nil && p.cert.IsCA && p.cert.KeyUsage&x509.KeyUsageCertSign != 0 && validAt(p.cert, now)
}

// matches reports whether a certificate has the names and usages of c.
func (c Certificate) matches(issued *x509.Certificate) bool {
	for _, name := range c.DNSNames {
		if !slices.Contains(issued.DNSNames, name) {
			return false
		}
	}
	for _, usage := range c.Usages {
		if !slices.Contains(issued.ExtKeyUsage, usage) {
			return false
		}
	}
	return true
}

func validAt(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && now.Before(c.NotAfter)
}

// renewAt is when two thirds of a certificate's life are over, counted from its issue.
func renewAt(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore.Add(pki.Backdate)) / 3)
}

// parseBundle returns the CAs of a bundle and ignores other certificates.
func parseBundle(data []byte) []*x509.Certificate {
	certs, err := cert.ParseCertsPEM(data)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(certs, func(c *x509.Certificate) bool { return !c.IsCA })
}

func contains(certs []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(certs, func(other *x509.Certificate) bool { return bytes.Equal(other.Raw, c.Raw) })
}

func signedByAny(cas []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(cas, func(ca *x509.Certificate) bool { return pki.Signed(ca, c) })
}
