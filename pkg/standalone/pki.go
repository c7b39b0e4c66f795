// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

const (
	caLife      = 10 * 365 * 24 * time.Hour
	servingLife = 365 * 24 * time.Hour
)

// pair is a certificate and its key as they are on disk. Either may be absent: keys are written first, so a crash can
// leave a key without a certificate, which is then issued for that key.
type pair struct {
	cert    *x509.Certificate
	certPEM []byte
	key     crypto.Signer
	keyPEM  []byte
}

// readPair rejects files that do not parse or do not belong together. hint says what to delete to start over.
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
			return pair{}, fmt.Errorf("%s is not a private key: %s", keyPath, hint)
		}
		p.key, _ = key.(crypto.Signer)
	}
	if p.certPEM == nil {
		return p, nil
	}
	certs, err := cert.ParseCertsPEM(p.certPEM)
	if err != nil {
		return pair{}, fmt.Errorf("%s is not a certificate: %s", certPath, hint)
	}
	p.cert = certs[0]
	if p.key == nil {
		return pair{}, fmt.Errorf("%s has no key %s: %s", certPath, keyPath, hint)
	}
	if !pki.BelongsTo(p.cert, p.key) {
		return pair{}, fmt.Errorf("%s does not belong to %s: %s", certPath, keyPath, hint)
	}
	return p, nil
}

// checkCA rejects a certificate that is not a CA or has expired. One that is not valid yet is issued again: see
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

// serves reports whether the serving certificate in p is for exactly hosts, valid now, and not in the last third of its
// life, unless it ends with ca.
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

// withKey returns p with a key, and whether the key is new.
func (p pair) withKey() (pair, bool, error) {
	if p.key != nil {
		return p, false, nil
	}
	key, err := pki.NewKey()
	if err != nil {
		return pair{}, false, err
	}
	p.key = key
	p.keyPEM, err = keyutil.MarshalPrivateKeyToPEM(key)
	return p, true, err
}

// sign returns p with a certificate, signed by parent, or by itself when parent is nil.
func (p pair) sign(template *x509.Certificate, parent *pair) (pair, error) {
	if parent == nil {
		parent = &pair{cert: template, key: p.key}
	}
	var err error
	if p.cert, err = pki.Sign(template, p.key, parent.cert, parent.key); err != nil {
		return pair{}, err
	}
	p.certPEM = pki.Encode(p.cert)
	return p, nil
}

// caTemplate is a new CA, or old for the same key with a new start: same name and same end, so that copies of the old
// certificate still verify what the new one signs.
func caTemplate(old *x509.Certificate, now time.Time) *x509.Certificate {
	template := pki.CA("secret-apiserver-ca", now, now.Add(caLife))
	if old != nil {
		template.RawSubject, template.Subject, template.NotAfter = old.RawSubject, old.Subject, old.NotAfter
	}
	return template
}

func servingTemplate(hosts []string, ca *x509.Certificate, now time.Time) *x509.Certificate {
	template := pki.Leaf("secret-apiserver", hosts, ca, now, servingLife)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return template
}

// servingHosts returns the names of the serving certificate, sorted: those of every server, where it listens, and
// --tls-san. local are the addresses of this machine, for a server that listens on a wildcard.
func servingHosts(hostname, bind string, extra []string, local []net.IP) ([]string, error) {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if h := strings.ToLower(hostname); len(validation.IsDNS1123Subdomain(h)) == 0 {
		hosts = append(hosts, h) // a machine may have a name that a certificate cannot have
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

// signedBy checks that ca issued the certificate in p. Another one is the owner's and is not replaced.
func (p pair) signedBy(ca pair) error {
	if p.cert != nil && (ca.cert == nil || !pki.Signed(ca.cert, p.cert)) {
		return errors.New("not signed by the authority beside it")
	}
	return nil
}
