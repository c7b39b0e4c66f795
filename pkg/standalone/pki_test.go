// SPDX-License-Identifier: Apache-2.0

package standalone

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/util/cert"
)

// servingCert verifies the certificate of d for host the way a client does, and returns it.
func servingCert(t *testing.T, d *Data, host string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(d.ServingCert())
	if err != nil {
		t.Fatal(err)
	}
	roots, err := cert.NewPool(d.CACert())
	if err != nil {
		t.Fatal(err)
	}
	opts := x509.VerifyOptions{DNSName: host, Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if _, err := pair.Leaf.Verify(opts); err != nil {
		t.Errorf("a client of %s: %v", host, err)
	}
	return pair.Leaf
}

func caCert(t *testing.T, d *Data) *x509.Certificate {
	t.Helper()
	certs, err := cert.CertsFromFile(d.CACert())
	if err != nil {
		t.Fatal(err)
	}
	return certs[0]
}

func TestCertificates(t *testing.T) {
	hostname, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	d := prepare(t, filepath.Join(t.TempDir(), "data"), func(c *Config) {
		c.BindAddress, c.ExtraSANs = "192.0.2.7", []string{"secrets.example.com", "*.example.org", "2001:db8::1"}
	})
	hosts := []string{"localhost", "127.0.0.1", "[::1]", "192.0.2.7", "secrets.example.com", "a.example.org", "[2001:db8::1]"}
	if len(validation.IsDNS1123Subdomain(hostname)) == 0 {
		hosts = append(hosts, hostname)
	}
	for _, host := range hosts {
		leaf := servingCert(t, d, host)
		if life := leaf.NotAfter.Sub(leaf.NotBefore); life < servingLife || life > servingLife+time.Hour {
			t.Errorf("serving certificate lives %s, want a year", life)
		}
		if leaf.IsCA || len(leaf.ExtKeyUsage) != 1 {
			t.Errorf("serving certificate can do more than serve: CA %t, usages %v", leaf.IsCA, leaf.ExtKeyUsage)
		}
	}
	ca := caCert(t, d)
	if key, ok := ca.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("authority's key is %T, want ECDSA P-256", ca.PublicKey)
	}
	if !ca.IsCA || !ca.MaxPathLenZero || ca.NotAfter.Before(time.Now().Add(caLife-time.Hour)) {
		t.Errorf("authority: CA %t, no further authority %t, until %s", ca.IsCA, ca.MaxPathLenZero, ca.NotAfter)
	}
}

// The serving certificate follows the clock and the names; authority, keys and token stay.
func TestServingCertificateIsIssuedAgain(t *testing.T) {
	later := func(d time.Duration) func(*Config) {
		return func(c *Config) { c.now = func() time.Time { return time.Now().Add(d) } }
	}
	const day = 24 * time.Hour
	for _, tc := range []struct {
		name   string
		change func(*Config)
		again  bool
	}{
		{"more than a third left", later(243 * day), false},
		{"less than a third left", later(244 * day), true},
		{"expired", later(400 * day), true},
		{"new name", func(c *Config) { c.ExtraSANs = []string{"NEW.example.com"} }, true},
		{"new bind address", func(c *Config) { c.BindAddress = "192.0.2.9" }, true},
		{"wildcard", func(c *Config) { c.BindAddress = "0.0.0.0" }, true},
		{"IPv6 wildcard", func(c *Config) { c.BindAddress = "::" }, true},
		{"another port", func(c *Config) { c.Port = 9443 }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := filled(t)
			before := snapshot(t, dir)
			local := func(c *Config) {
				c.local = func() []net.IP { return []net.IP{net.ParseIP("192.0.2.1"), net.ParseIP("2001:db8::1")} }
			}
			d := prepare(t, dir, tc.change, local)
			after := snapshot(t, dir)
			if changed := before["pki/serving.crt"] != after["pki/serving.crt"]; changed != tc.again {
				t.Errorf("issued again: %t, want %t", changed, tc.again)
			}
			for _, name := range []string{"pki/ca.crt", "pki/ca.key", "pki/serving.key", "encryption.yaml", "admin-token.sha256"} {
				if before[name] != after[name] {
					t.Errorf("%s was changed", name)
				}
			}
			if strings.HasPrefix(tc.name, "new") {
				servingCert(t, d, "localhost")
			}
		})
	}
}

// A name that is no longer asked for leaves the certificate.
func TestRemovedNamesLeaveTheCertificate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if err := prepare(t, dir, func(c *Config) { c.ExtraSANs = []string{"old.example.com", "192.0.2.8"} }).Close(); err != nil {
		t.Fatal(err)
	}
	leaf := servingCert(t, prepare(t, dir), "localhost")
	if leaf.VerifyHostname("old.example.com") == nil || leaf.VerifyHostname("192.0.2.8") == nil {
		t.Errorf("the certificate still has %v %v", leaf.DNSNames, leaf.IPAddresses)
	}
}

// A wildcard listens on every address of the machine in its family, except link-local ones, which need a zone.
func TestWildcardAddresses(t *testing.T) {
	local := []net.IP{net.ParseIP("127.0.0.1"), net.ParseIP("192.0.2.1"), net.ParseIP("169.254.1.1"), net.ParseIP("fe80::1"), net.ParseIP("2001:db8::1")}
	for bind, want := range map[string]string{
		"0.0.0.0":   "127.0.0.1 192.0.2.1 ::1 localhost",
		"::":        "127.0.0.1 192.0.2.1 2001:db8::1 ::1 localhost",
		"127.0.0.1": "127.0.0.1 ::1 localhost",
	} {
		hosts, err := servingHosts("", bind, nil, local)
		if got := strings.Join(hosts, " "); err != nil || got != want {
			t.Errorf("%s: %s, %v; want %s", bind, got, err, want)
		}
	}
}

// What was issued while the clock ran ahead is issued again once it is right: the authority for the same key, with its
// old end, so that a client with the old copy verifies the server as soon as that copy is valid.
func TestCertificatesFromAClockThatRanAhead(t *testing.T) {
	const ahead = 48 * time.Hour
	dir := filepath.Join(t.TempDir(), "data")
	later := func(c *Config) { c.now = func() time.Time { return time.Now().Add(ahead) } }
	d := prepare(t, dir, later)
	old := caCert(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, dir)
	d = prepare(t, dir)
	leaf := servingCert(t, d, "localhost") // with the new authority, now
	roots := x509.NewCertPool()
	roots.AddCert(old)
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: "localhost", Roots: roots, CurrentTime: time.Now().Add(ahead)}); err != nil {
		t.Errorf("a client with the old authority, once that is valid: %v", err)
	}
	if ca := caCert(t, d); !ca.NotAfter.Equal(old.NotAfter) || ca.NotBefore.After(time.Now()) {
		t.Errorf("the new authority is valid from %s to %s, the old one to %s", ca.NotBefore, ca.NotAfter, old.NotAfter)
	}
	after := snapshot(t, dir)
	for _, name := range []string{"pki/ca.key", "pki/serving.key", "encryption.yaml", "admin-token.sha256"} {
		if before[name] != after[name] {
			t.Errorf("%s was changed", name)
		}
	}
	kubeconfig, err := readKubeconfig(d.Kubeconfig())
	if err != nil || string(clusterIn(kubeconfig).Cluster.CertificateAuthorityData) != read(t, d.CACert()) {
		t.Errorf("the kubeconfig has another authority: %v", err)
	}
}

// While the server runs: nothing changes until it is due, then the certificate alone does, and no key.
func TestRenew(t *testing.T) {
	var shift time.Duration
	local := []net.IP{net.ParseIP("192.0.2.1")}
	dir := filepath.Join(t.TempDir(), "data")
	d := prepare(t, dir, func(c *Config) {
		c.BindAddress = "0.0.0.0"
		c.now = func() time.Time { return time.Now().Add(shift) }
		c.local = func() []net.IP { return local }
	})
	before := snapshot(t, dir)
	for _, step := range []struct {
		name  string
		do    func()
		again bool
	}{
		{"nothing changed", func() {}, false},
		{"more than a third is left", func() { shift = 243 * 24 * time.Hour }, false},
		{"less than a third is left", func() { shift = 245 * 24 * time.Hour }, true},
		{"the clock is set back", func() { shift = 0 }, true},
		{"a new address", func() { local = append(local, net.ParseIP("192.0.2.2")) }, true},
		{"the certificate was deleted", func() { remove(t, filepath.Join(dir, "pki/serving.crt")) }, true},
		{"nothing changed again", func() {}, false},
	} {
		step.do()
		if err := d.renew(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		after := snapshot(t, dir)
		if again := before["pki/serving.crt"] != after["pki/serving.crt"]; again != step.again {
			t.Errorf("%s: issued again: %t, want %t", step.name, again, step.again)
		}
		before["pki/serving.crt"] = after["pki/serving.crt"]
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("%s: more than the certificate changed:\n%s", step.name, diff)
		}
	}
	shift = caLife
	if err := d.renew(); err == nil || !strings.Contains(err.Error(), "ca.crt expired on ") {
		t.Errorf("with an expired authority: %v", err)
	}
}

func TestExpiredAuthority(t *testing.T) {
	dir := filled(t)
	_, err := tryPrepare(dir, func(c *Config) { c.now = func() time.Time { return time.Now().Add(caLife + time.Hour) } })
	if err == nil || !strings.Contains(err.Error(), "ca.crt expired on ") || !strings.Contains(err.Error(), "delete ") {
		t.Errorf("Prepare = %v, want an expired authority", err)
	}
}

// Near its end the authority does not sign beyond it: clients would refuse the chain anyway.
func TestServingCertificateEndsWithTheAuthority(t *testing.T) {
	dir := filled(t)
	d := prepare(t, dir, func(c *Config) { c.now = func() time.Time { return time.Now().Add(caLife - 60*24*time.Hour) } })
	certs, err := cert.CertsFromFile(filepath.Join(dir, "pki/serving.crt"))
	if err != nil {
		t.Fatal(err)
	}
	if end := caCert(t, d).NotAfter; certs[0].NotAfter.After(end) {
		t.Errorf("serving certificate ends %s, after the authority's %s", certs[0].NotAfter, end)
	}
}

func TestBadExtraNames(t *testing.T) {
	for _, name := range []string{"", "two words", "under_score.example.com", "https://example.com", "a.*.example.com"} {
		_, err := tryPrepare(filepath.Join(t.TempDir(), "data"), func(c *Config) { c.ExtraSANs = []string{name} })
		if err == nil || !strings.Contains(err.Error(), "neither an IP address nor a DNS name") {
			t.Errorf("Prepare with extra name %q = %v", name, err)
		}
	}
}

func TestOddHostnamesAreLeftOut(t *testing.T) {
	for name, want := range map[string]string{"My-Laptop": "my-laptop", "bad_name": "", "": "", "büro": ""} {
		hosts, err := servingHosts(name, "", nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := len(hosts) - 3; (got == 1) != (want != "") || (want != "" && !strings.Contains(strings.Join(hosts, " "), want)) {
			t.Errorf("hostname %q: %v", name, hosts)
		}
	}
}
