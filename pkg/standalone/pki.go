// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

const (
	caLife      = 10 * 365 * 24 * time.Hour
	servingLife = 365 * 24 * time.Hour
	// renewBefore is the rest of life at which a start issues the serving certificate again.
	renewBefore = 30 * 24 * time.Hour
	// backdate forgives clocks of clients that are behind.
	backdate = 5 * time.Minute
)

// pair is a certificate and its key as they are on disk. Either may be absent: keys are written first, so a crash can
// leave a key alone, and a certificate can be made again from its key.
type pair struct {
	cert    *x509.Certificate
	certPEM []byte
	key     crypto.Signer
	keyPEM  []byte
}

// readPair refuses files that do not parse or do not belong together. hint says what to delete to start over.
func readPair(certPath, keyPath, hint string) (pair, error) {
	var p pair
	var err error
	if p.keyPEM, err = readPrivate(keyPath); err != nil {
		return pair{}, err
	}
	if p.certPEM, err = readPrivate(certPath); err != nil {
		return pair{}, err
	}
	if p.keyPEM != nil {
		key, err := keyutil.ParsePrivateKeyPEM(p.keyPEM)
		if err != nil { // not wrapped: parsers may quote their input
			return pair{}, fmt.Errorf("%s holds no private key: %s", keyPath, hint)
		}
		p.key, _ = key.(crypto.Signer)
	}
	if p.certPEM == nil {
		return p, nil
	}
	certs, err := cert.ParseCertsPEM(p.certPEM)
	if err != nil {
		return pair{}, fmt.Errorf("%s holds no certificate: %s", certPath, hint)
	}
	p.cert = certs[0]
	if p.key == nil {
		return pair{}, fmt.Errorf("%s has no key %s: %s", certPath, keyPath, hint)
	}
	if pub, ok := p.cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(p.key.Public()) {
		return pair{}, fmt.Errorf("%s does not belong to %s: %s", certPath, keyPath, hint)
	}
	return p, nil
}

// checkCA refuses a certificate that cannot sign, or can no longer.
func checkCA(path string, p pair, now time.Time, hint string) error {
	switch {
	case p.cert == nil:
		return nil
	case !p.cert.IsCA:
		return fmt.Errorf("%s is not a certificate authority: %s", path, hint)
	case now.After(p.cert.NotAfter):
		return fmt.Errorf("%s expired on %s: %s", path, p.cert.NotAfter.Format(time.DateOnly), hint)
	}
	return nil
}

// serves says whether the serving certificate in p is good for hosts for a while yet.
func (p pair) serves(hosts []string, now time.Time) bool {
	if p.cert == nil || now.Add(renewBefore).After(p.cert.NotAfter) {
		return false
	}
	return !slices.ContainsFunc(hosts, func(h string) bool { return p.cert.VerifyHostname(h) != nil })
}

// withKey returns p with a key, and whether it had to be made.
func (p pair) withKey() (pair, bool, error) {
	if p.key != nil {
		return p, false, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return pair{}, false, fmt.Errorf("generating a key: %w", err)
	}
	p.key = key
	p.keyPEM, err = keyutil.MarshalPrivateKeyToPEM(key)
	return p, true, err
}

// sign returns p with a certificate from tmpl, signed by parent, or by itself when parent is nil.
func (p pair) sign(tmpl *x509.Certificate, parent *pair) (pair, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return pair{}, fmt.Errorf("generating a serial number: %w", err)
	}
	tmpl.SerialNumber = serial
	issuer, signer := tmpl, p.key
	if parent != nil {
		issuer, signer = parent.cert, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, issuer, p.key.Public(), signer)
	if err != nil {
		return pair{}, fmt.Errorf("signing the certificate %q: %w", tmpl.Subject.CommonName, err)
	}
	if p.cert, err = x509.ParseCertificate(der); err != nil {
		return pair{}, fmt.Errorf("reading back the certificate %q: %w", tmpl.Subject.CommonName, err)
	}
	p.certPEM = pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: der})
	return p, nil
}

func caTemplate(now time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: fmt.Sprintf("secret-apiserver-ca@%d", now.Unix())},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLife),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLenZero: true,
	}
}

func servingTemplate(hosts []string, now, caEnd time.Time) *x509.Certificate {
	end := now.Add(servingLife)
	if end.After(caEnd) {
		end = caEnd
	}
	t := &x509.Certificate{
		Subject:   pkix.Name{CommonName: "secret-apiserver"},
		NotBefore: now.Add(-backdate), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return t
}

// wantedHosts lists each name once: what every server has, where it listens, and what the caller adds.
func wantedHosts(hostname, bind string, extra []string) ([]string, error) {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if h := strings.ToLower(hostname); len(validation.IsDNS1123Subdomain(h)) == 0 {
		hosts = append(hosts, h) // a machine may have a name that no certificate can hold
	}
	if ip := net.ParseIP(bind); ip != nil && !ip.IsUnspecified() {
		hosts = append(hosts, ip.String())
	}
	for _, h := range extra {
		if net.ParseIP(h) == nil && len(validation.IsDNS1123Subdomain(strings.TrimPrefix(h, "*."))) != 0 {
			return nil, fmt.Errorf("%q is neither an IP address nor a DNS name: it cannot be in the serving certificate", h)
		}
		hosts = append(hosts, h)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), nil
}

// signedBy says whether ca issued the certificate in p. One from elsewhere is the owner's and is not replaced.
func (p pair) signedBy(ca pair) error {
	if p.cert == nil {
		return nil
	}
	if ca.cert == nil || !bytes.Equal(p.cert.RawIssuer, ca.cert.RawSubject) || p.cert.CheckSignatureFrom(ca.cert) != nil {
		return errors.New("not signed by the authority beside it")
	}
	return nil
}
