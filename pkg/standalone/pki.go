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
	"k8s.io/klog/v2"
)

const (
	caLife      = 10 * 365 * 24 * time.Hour
	servingLife = 365 * 24 * time.Hour
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

// checkCA refuses a certificate that cannot sign, or can no longer. One that cannot sign yet is issued again: see
// fillPKI.
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

// serves reports whether the serving certificate in p is valid now, for more than the last third of its life unless ca
// ends with it, and for hosts and no others.
func (p pair) serves(hosts []string, now time.Time, ca *x509.Certificate) bool {
	if p.cert == nil || now.Before(p.cert.NotBefore) || ca == nil {
		return false
	}
	renewAt := p.cert.NotAfter.Add(-p.cert.NotAfter.Sub(p.cert.NotBefore) / 3)
	if now.After(renewAt) && p.cert.NotAfter.Before(ca.NotAfter) {
		return false
	}
	names := slices.Clone(p.cert.DNSNames)
	for _, ip := range p.cert.IPAddresses {
		names = append(names, ip.String())
	}
	slices.Sort(names)
	return slices.Equal(names, hosts)
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

// backdated is a certificate of the same authority that is valid from now on: same name, same key, same end. What
// clients keep of the old one goes on to verify what the new one signs.
func backdated(ca *x509.Certificate, now time.Time) *x509.Certificate {
	t := caTemplate(now)
	t.RawSubject, t.Subject, t.NotAfter = ca.RawSubject, ca.Subject, ca.NotAfter
	return t
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

// wantedHosts lists each name once, sorted: what every server has, where it listens, and --tls-san. local are the
// addresses of this machine, which a server that listens on a wildcard has.
func wantedHosts(hostname, bind string, extra []string, local []net.IP) ([]string, error) {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if h := strings.ToLower(hostname); len(validation.IsDNS1123Subdomain(h)) == 0 {
		hosts = append(hosts, h) // a machine may have a name that no certificate can hold
	}
	ip := net.ParseIP(bind)
	switch {
	case ip == nil:
	case !ip.IsUnspecified():
		hosts = append(hosts, ip.String())
	default:
		for _, address := range local {
			if address.IsGlobalUnicast() && (ip.To4() == nil || address.To4() != nil) { // 0.0.0.0 is IPv4 only
				hosts = append(hosts, address.String())
			}
		}
	}
	for _, h := range extra {
		name := strings.ToLower(h)
		if address := net.ParseIP(h); address != nil {
			name = address.String()
		} else if len(validation.IsDNS1123Subdomain(strings.TrimPrefix(name, "*."))) != 0 {
			return nil, fmt.Errorf("--tls-san: %q is neither an IP address nor a DNS name", h)
		}
		hosts = append(hosts, name)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts), nil
}

// localAddresses returns the addresses of this machine. Without them the certificate has fewer names.
func localAddresses() []net.IP {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		klog.Background().Error(err, "Could not list the addresses of this machine for the serving certificate")
	}
	var ips []net.IP
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok {
			ips = append(ips, network.IP)
		}
	}
	return ips
}

// signedBy says whether ca issued the certificate in p. One from elsewhere is the owner's and is not replaced.
func (p pair) signedBy(ca pair) error {
	if p.cert == nil {
		return nil
	}
	if ca.cert == nil || !bytes.Equal(p.cert.RawIssuer, ca.cert.RawSubject) ||
		p.cert.CheckSignatureFrom(ca.cert) != nil {
		return errors.New("not signed by the authority beside it")
	}
	return nil
}
