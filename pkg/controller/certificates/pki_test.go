// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"bytes"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/client-go/util/keyutil"

	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestCertificateDoesNotOutliveItsCA(t *testing.T) {
	ca, err := newCA("test", noon, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.issue(ServingAuthority(namespace).Certificates[0], noon, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if !leaf.cert.NotAfter.Equal(ca.cert.NotAfter) {
		t.Errorf("ends %s, its CA %s", leaf.cert.NotAfter, ca.cert.NotAfter)
	}
	if ca.canSign(noon.Add(time.Hour)) || !ca.canSign(noon) || leaf.canSign(noon) {
		t.Error("who may sign is wrong")
	}
}

// TestServerCertificateIsNoClient keeps the serving certificate from opening etcd or kube-apiserver.
func TestServerCertificateIsNoClient(t *testing.T) {
	ca, err := newCA("test", noon, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.issue(ServingAuthority(namespace).Certificates[0], noon, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	for usage, ok := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageServerAuth: true,
		x509.ExtKeyUsageClientAuth: false} {
		_, err := leaf.cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: noon,
			KeyUsages: []x509.ExtKeyUsage{usage}})
		if (err == nil) != ok {
			t.Errorf("usage %d: %v", usage, err)
		}
	}
	for _, name := range []string{
		"secret-apiserver.secret-system.svc", "secret-apiserver.secret-system.svc.cluster.local",
		"secret-decrypt.secret-system.svc", "secret-decrypt.secret-system.svc.cluster.local",
	} {
		if err := leaf.cert.VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"kubernetes.default.svc", "x.secret-apiserver.secret-system.svc",
		"secret-etcd.secret-system.svc"} {
		if leaf.cert.VerifyHostname(name) == nil {
			t.Errorf("is valid for %s", name)
		}
	}
}

// TestMembersAreNamed is for the names that three etcd members and their Service have.
func TestMembersAreNamed(t *testing.T) {
	certificates := EtcdAuthority(namespace).Certificates
	ca, err := newCA("test", noon, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for i, names := range [][]string{
		{"secret-etcd.secret-system.svc", "secret-etcd-2.secret-etcd.secret-system.svc", "localhost"},
		{"secret-etcd.secret-system.svc", "secret-etcd-0.secret-etcd.secret-system.svc.cluster.local"},
	} {
		leaf, err := ca.issue(certificates[i], noon, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if err := leaf.cert.VerifyHostname(name); err != nil {
				t.Error(err)
			}
		}
	}
}

// FuzzParse gives Secrets that somebody edited: never a panic, and what parses belongs together.
func FuzzParse(f *testing.F) {
	ca, err := newCA("test", noon, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	key, err := keyutil.MarshalPrivateKeyToPEM(ca.key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(pki.Encode(ca.cert), key)
	f.Add(key, pki.Encode(ca.cert))
	f.Add(bytes.Repeat(pki.Encode(ca.cert), 3), append(pki.Encode(ca.cert), key...))
	f.Add([]byte(nil), []byte("-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, certPEM, keyPEM []byte) {
		p := parsePair(certPEM, keyPEM)
		if (p.cert == nil) != (p.key == nil) {
			t.Error("one without the other")
		}
		if p.cert != nil && !p.cert.Equal(ca.cert) {
			t.Error("another certificate for the same key")
		}
		for _, c := range parseBundle(certPEM) {
			if !c.IsCA {
				t.Error("a bundle of something that is not a CA")
			}
		}
	})
}

func TestOptions(t *testing.T) {
	for flags, want := range map[string]string{
		"":                                      "",
		"--own-ca=serving,etcd":                 "",
		"--own-ca=serving --own-ca=etcd":        "",
		"--own-ca=kubelet":                      `--own-ca: invalid value "kubelet"`,
		"--own-ca=etcd,etcd":                    "twice",
		"--own-ca-namespace=":                   "--own-ca-namespace",
		"--own-ca-namespace=*":                  "--own-ca-namespace",
		"--own-ca-propagation-time=0s":          "--own-ca-propagation-time",
		"--own-ca-propagation-time=-1s":         "--own-ca-propagation-time",
		"--own-ca-certificate-lifetime=671h":    "--own-ca-certificate-lifetime",
		"--own-ca-certificate-lifetime=672h":    "",
		"--own-ca-lifetime=4319h":               "--own-ca-lifetime",
		"--own-ca-certificate-lifetime=8760h1m": "--own-ca-lifetime",
	} {
		t.Run(flags, func(t *testing.T) {
			opts := NewOptions()
			fs := pflag.NewFlagSet("", pflag.ContinueOnError)
			opts.AddFlags(fs)
			if err := fs.Parse(strings.Fields(flags)); err != nil {
				t.Fatal(err)
			}
			err := errors.Join(opts.Validate()...)
			if (err == nil) != (want == "") || (err != nil && !strings.Contains(err.Error(), want)) {
				t.Errorf("got %v, want %q", err, want)
			}
		})
	}
}
