// SPDX-License-Identifier: Apache-2.0

package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	restclient "k8s.io/client-go/rest"
)

// chain is a PEM of certificates that end at these times.
func chain(t *testing.T, ends ...time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for _, end := range ends {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: end}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return all
}

// A chain is of use until the first of it ends, a bundle of CAs until the last does. What is absent or damaged has no
// end.
func TestEndOfACertificate(t *testing.T) {
	soon, late := time.Unix(1_900_000_000, 0), time.Unix(2_000_000_000, 0)
	both := func() []byte { return chain(t, late, soon) }
	for name, test := range map[string]struct {
		certificate certificate
		want        time.Time
	}{
		"chain":      {certificate{pem: both}, soon},
		"bundle":     {certificate{bundle: true, pem: both}, late},
		"kubeconfig": {clientCertificates("kubeconfig", &restclient.Config{TLSClientConfig: restclient.TLSClientConfig{CertData: both()}})[0], soon},
		"no file":    {certificateFile("x", false, ""), time.Time{}},
		"gone":       {certificateFile("x", false, filepath.Join(t.TempDir(), "x")), time.Time{}},
		"damaged":    {certificate{pem: func() []byte { return []byte("x") }}, time.Time{}},
	} {
		if end, ok := test.certificate.end(); ok == test.want.IsZero() || !end.Equal(test.want) {
			t.Errorf("%s: %s %t, want %s", name, end, ok, test.want)
		}
	}
}
