// SPDX-License-Identifier: Apache-2.0

package process

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// authority issues client certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue makes a certificate for a client that is valid until then.
func (a *authority) issue(t *testing.T, until time.Time, user string, groups ...string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: user, Organization: groups},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func wantCertificates(t *testing.T, s *harness.Server, a *authority) {
	t.Helper()
	soon := time.Now().Add(time.Hour)
	for name, test := range map[string]struct {
		cert tls.Certificate
		path string
		want int
	}{
		"by name":          {a.issue(t, soon, "certified"), harness.Collection("rbac"), 200},
		"by group":         {a.issue(t, soon, "x", "wild"), harness.Collection("rbac"), 200},
		"no role":          {a.issue(t, soon, "x"), harness.Collection("rbac"), 403},
		"masters":          {a.issue(t, soon, "x", "system:masters"), "/metrics", 200},
		"expired":          {a.issue(t, time.Now().Add(-time.Hour), "certified"), harness.Collection("rbac"), 401},
		"of another CA":    {newAuthority(t).issue(t, soon, "certified"), harness.Collection("rbac"), 401},
		"other CA, health": {newAuthority(t).issue(t, soon, "certified"), "/livez", 401},
	} {
		transport := s.HTTPClient().Transport.(*http.Transport).Clone()
		transport.TLSClientConfig.Certificates = []tls.Certificate{test.cert}
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+test.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		transport.CloseIdleConnections()
		if response.StatusCode != test.want {
			t.Errorf("%s: %d, want %d", name, response.StatusCode, test.want)
		}
	}
}

// issuer is an OpenID provider over TLS.
type issuer struct {
	*httptest.Server
	key *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{key: newKey(t)}
	i.Server = httptest.NewTLSServer(i)
	t.Cleanup(i.Close)
	return i
}

// ServeHTTP answers the discovery document and the key set.
func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/.well-known/openid-configuration" {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
		return
	}
	point, err := i.key.PublicKey.Bytes()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{
		"kty": "EC", "kid": "k", "alg": "ES256", "use": "sig", "crv": "P-256",
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
	}}})
}

// config is the AuthenticationConfiguration that trusts the issuer.
func (i *issuer) config() string {
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})
	ca := strings.ReplaceAll(strings.TrimSpace(string(block)), "\n", "\n      ")
	return fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: %s
    audiences: [secrets]
    certificateAuthority: |
      %s
  claimMappings:
    username: {claim: sub, prefix: "oidc:"}
    groups: {claim: groups, prefix: "oidc:"}
`, i.URL, ca)
}

// token signs the usual claims, changed by the given ones.
func (i *issuer) token(t *testing.T, key *ecdsa.PrivateKey, changes jwt.MapClaims) string {
	t.Helper()
	claims := jwt.MapClaims{"iss": i.URL, "aud": "secrets", "sub": "alice", "groups": []string{"devs"}, "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, changes)
	unsigned := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	unsigned.Header["kid"] = "k"
	signed, err := unsigned.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func wantJWT(t *testing.T, s *harness.Server, i *issuer) {
	t.Helper()
	path := harness.Collection("rbac")
	good := i.token(t, i.key, nil)
	eventually(t, "the issuer's tokens are accepted", func() bool { return code(t, s, path, good) == http.StatusOK })
	for name, test := range map[string]struct {
		token string
		want  int
	}{
		"no group":           {i.token(t, i.key, jwt.MapClaims{"groups": []string{}}), 403},
		"group without mark": {i.token(t, i.key, jwt.MapClaims{"groups": []string{"wild", "system:masters"}}), 403},
		"expired":            {i.token(t, i.key, jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}), 401},
		"another audience":   {i.token(t, i.key, jwt.MapClaims{"aud": "others"}), 401},
		"another issuer":     {i.token(t, i.key, jwt.MapClaims{"iss": "https://127.0.0.1:1"}), 401},
		"another key":        {i.token(t, newKey(t), nil), 401},
		"cut":                {good[:len(good)-4], 401},
	} {
		if got := code(t, s, path, test.token); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	if log := s.Log(t); strings.Contains(log, good) || strings.Contains(log, strings.Split(good, ".")[2]) {
		t.Error("the log holds a token")
	}
}
