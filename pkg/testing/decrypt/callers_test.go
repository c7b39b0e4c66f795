// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"crypto/tls"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/issuer"
)

// bindOthers gives the shipped role to what an OpenID provider and a client CA vouch for.
var bindOthers = harness.Grant("group/oidc:devs", harness.K6Role, namespace) + harness.Grant("certified", harness.K6Role, namespace)

// TestWhoACallerIs asks the decrypt port as everybody that the API's port knows, and as those that nobody vouches for.
func TestWhoACallerIs(t *testing.T) {
	provider, clients := issuer.New(t), certs.NewCA(t, "clients")
	dir := t.TempDir()
	config, ca := filepath.Join(dir, "authentication.yaml"), filepath.Join(dir, "clients.crt")
	harness.WriteFile(t, config, provider.Config())
	harness.WriteFile(t, ca, clients.PEM())
	s := harness.Start(t, harness.Options{
		RBAC: []string{bindOthers}, Args: []string{"--authentication-config=" + config, "--client-ca-file=" + ca},
	}.WithK6(namespace))
	canary := harness.Canary()
	s.Create(t, namespace, "mine", canary, "k6-cloud")
	good := provider.Token(t, nil)
	harness.Eventually(t, "the issuer's keys are known", func() bool { return get(t, s, good, namespace, "mine").Code == http.StatusOK })

	for name, test := range map[string]struct {
		token string
		want  int
	}{
		"static token":     {k6Token, http.StatusOK},
		"JWT":              {good, http.StatusOK},
		"no group":         {provider.Token(t, jwt.MapClaims{"groups": []string{}}), http.StatusForbidden},
		"expired":          {provider.Token(t, jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}), http.StatusUnauthorized},
		"not yet":          {provider.Token(t, jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}), http.StatusUnauthorized},
		"another audience": {provider.Token(t, jwt.MapClaims{"aud": "others"}), http.StatusUnauthorized},
		"another key":      {provider.Forged(t, nil), http.StatusUnauthorized},
		"none":             {"", http.StatusUnauthorized},
		"unknown":          {"unknown", http.StatusUnauthorized},
	} {
		t.Run(name, func(t *testing.T) { wantGet(t, get(t, s, test.token, namespace, "mine"), test.want, canary) })
	}
	another := certs.NewCA(t, "clients") // of the same name: only the key tells the two apart
	for name, test := range map[string]struct {
		certificate tls.Certificate
		want        int
	}{
		"certificate":           {clients.Client(t, "certified"), http.StatusOK},
		"of somebody else":      {clients.Client(t, "other"), http.StatusForbidden},
		"expired certificate":   {clients.ClientUntil(t, time.Now().Add(-time.Minute), "certified"), http.StatusUnauthorized},
		"of a CA of that name":  {another.Client(t, "certified"), http.StatusUnauthorized},
		"masters' certificate":  {clients.Client(t, "x", "system:masters"), http.StatusForbidden},
		"certificate by group":  {clients.Client(t, "x", "oidc:devs"), http.StatusOK},
		"group of another form": {clients.Client(t, "x", "devs"), http.StatusForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			wantGet(t, get(t, s.As(t, test.certificate), "", namespace, "mine"), test.want, canary)
		})
	}
	s.Leaks(t, canary)
}

// TestServingCertificateRotated: both ports take up a new certificate without a start, for the next connection.
func TestServingCertificateRotated(t *testing.T) {
	first, second := certs.NewCA(t, "first"), certs.NewCA(t, "second")
	dir := t.TempDir()
	certificate, key := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	write := func(ca *certs.CA) {
		crt, pem := ca.Serving(t)
		harness.WriteFile(t, certificate, crt)
		harness.WriteFile(t, key, pem)
	}
	write(first)
	s := start(t, "--tls-cert-file="+certificate, "--tls-private-key-file="+key)
	trusted := func(url string, ca *certs.CA) bool {
		dialer := tls.Dialer{Config: &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}}
		conn, err := dialer.DialContext(t.Context(), "tcp", url[len("https://"):])
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}
	for _, url := range []string{s.URL, s.DecryptURL} {
		if !trusted(url, first) || trusted(url, second) {
			t.Fatalf("%s does not serve the certificate it was given", url)
		}
	}
	write(second)
	for _, url := range []string{s.URL, s.DecryptURL} {
		harness.Eventually(t, url+" serves the new certificate", func() bool { return trusted(url, second) && !trusted(url, first) })
	}
}
