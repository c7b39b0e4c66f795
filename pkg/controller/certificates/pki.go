// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// backdate forgives clocks that are behind.
const backdate = 5 * time.Minute

// pair is a certificate and its key. The zero pair is "there is none".
type pair struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// parsePair returns the zero pair for whatever is not one certificate with its key: it will be made anew.
func parsePair(certPEM, keyPEM []byte) pair {
	certs, err := cert.ParseCertsPEM(certPEM)
	if err != nil {
		return pair{}
	}
	parsed, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return pair{}
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return pair{}
	}
	if public, ok := certs[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
		return pair{}
	}
	return pair{cert: certs[0], key: key}
}

// keyPEM is the private key for a Secret, and for nothing else.
func (p pair) keyPEM() ([]byte, error) { return keyutil.MarshalPrivateKeyToPEM(p.key) }

// newCA makes a CA that may sign certificates of servers and clients, and no other CA.
func newCA(name string, now time.Time, life time.Duration) (pair, error) {
	template := &x509.Certificate{
		Subject:   pkix.Name{CommonName: fmt.Sprintf("secret-apiserver-%s-ca@%d", name, now.Unix())},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
	return sign(template, nil)
}

// issue makes a certificate that does not outlive its CA.
func (p pair) issue(want Certificate, now time.Time, life time.Duration) (pair, error) {
	end := now.Add(life)
	if end.After(p.cert.NotAfter) {
		end = p.cert.NotAfter
	}
	return sign(&x509.Certificate{
		Subject:   pkix.Name{CommonName: want.CommonName},
		NotBefore: now.Add(-backdate), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: want.Usages,
		DNSNames: want.DNSNames, BasicConstraintsValid: true,
	}, &p)
}

// sign makes a key and its certificate, signed by parent, or by itself when parent is nil.
func sign(template *x509.Certificate, parent *pair) (pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, fmt.Errorf("generating a key: %w", err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return pair{}, fmt.Errorf("generating a serial number: %w", err)
	}
	if parent == nil {
		parent = &pair{cert: template, key: key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.cert, key.Public(), parent.key)
	if err != nil {
		return pair{}, fmt.Errorf("signing the certificate %q: %w", template.Subject.CommonName, err)
	}
	made, err := x509.ParseCertificate(der)
	return pair{cert: made, key: key}, err
}

// signs reports whether p may sign: a CA within its life.
func (p pair) signs(now time.Time) bool {
	return p.cert != nil && p.cert.IsCA && p.cert.KeyUsage&x509.KeyUsageCertSign != 0 && within(p.cert, now)
}

// signed reports whether ca issued c.
func signed(ca, c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, ca.RawSubject) && c.CheckSignatureFrom(ca) == nil
}

// signedByAny reports whether one of cas issued c.
func signedByAny(cas []*x509.Certificate, c *x509.Certificate) bool {
	return slices.ContainsFunc(cas, func(ca *x509.Certificate) bool { return signed(ca, c) })
}

// covers reports whether c is good for what a Certificate asks.
func covers(c *x509.Certificate, want Certificate) bool {
	for _, name := range want.DNSNames {
		if !slices.Contains(c.DNSNames, name) {
			return false
		}
	}
	for _, usage := range want.Usages {
		if !slices.Contains(c.ExtKeyUsage, usage) {
			return false
		}
	}
	return true
}

func within(c *x509.Certificate, now time.Time) bool {
	return !now.Before(c.NotBefore) && now.Before(c.NotAfter)
}

// renewAt is when two thirds of a certificate's life are over, counted from its issue.
func renewAt(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore.Add(backdate)) / 3)
}

// parseBundle returns the CAs of a bundle. Whatever is no CA is left out.
func parseBundle(data []byte) []*x509.Certificate {
	certs, err := cert.ParseCertsPEM(data)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(certs, func(c *x509.Certificate) bool { return !c.IsCA })
}

// encode writes certificates as PEM.
func encode(certs ...*x509.Certificate) []byte {
	var out bytes.Buffer
	for _, c := range certs {
		out.Write(pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: c.Raw}))
	}
	return out.Bytes()
}
