// SPDX-License-Identifier: Apache-2.0

// Package issuer is an OpenID provider over TLS for tests: its discovery document, its key set, and tokens signed by
// it.
package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Issuer runs until its test ends.
type Issuer struct {
	*httptest.Server

	key *ecdsa.PrivateKey
}

// New starts an issuer.
func New(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{key: newKey(t)}
	i.Server = httptest.NewTLSServer(i)
	t.Cleanup(i.Close)
	return i
}

// ServeHTTP answers the discovery document and the key set.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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

// Config is the AuthenticationConfiguration that trusts the issuer for the audience "secrets". Users and groups get the
// prefix "oidc:".
func (i *Issuer) Config() string {
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

// Token signs the usual claims, changed by the given ones: alice of group devs, for an hour.
func (i *Issuer) Token(t testing.TB, changes jwt.MapClaims) string {
	t.Helper()
	return i.sign(t, i.key, changes)
}

// Forged is such a token, signed by a key that is not the issuer's.
func (i *Issuer) Forged(t testing.TB, changes jwt.MapClaims) string {
	t.Helper()
	return i.sign(t, newKey(t), changes)
}

func (i *Issuer) sign(t testing.TB, key *ecdsa.PrivateKey, changes jwt.MapClaims) string {
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

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
