// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

// testIssuer is an OpenID provider over TLS: discovery document, key set, two signing keys.
type testIssuer struct {
	*httptest.Server
	down atomic.Bool
	slow atomic.Bool
	keys map[string]crypto.Signer
}

func newTestIssuer(t *testing.T) *testIssuer {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	i := &testIssuer{keys: map[string]crypto.Signer{"RS256": rsaKey, "ES256": ecKey}}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(i.answer))
	t.Cleanup(i.Close)
	return i
}

func (i *testIssuer) answer(w http.ResponseWriter, req *http.Request) {
	if i.down.Load() {
		http.Error(w, "down", http.StatusServiceUnavailable)
		return
	}
	if i.slow.Load() {
		time.Sleep(200 * time.Millisecond)
	}
	w.Header().Set("Content-Type", "application/json")
	switch req.URL.Path {
	case "/.well-known/openid-configuration":
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	case "/keys":
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{rsaJWK(i.keys["RS256"]), ecJWK(i.keys["ES256"])}})
	default:
		http.NotFound(w, req)
	}
}

func rsaJWK(key crypto.Signer) map[string]string {
	public := key.Public().(*rsa.PublicKey)
	return map[string]string{
		"kty": "RSA", "kid": "RS256", "alg": "RS256", "use": "sig", "e": "AQAB",
		"n": base64.RawURLEncoding.EncodeToString(public.N.Bytes()),
	}
}

func ecJWK(key crypto.Signer) map[string]string {
	point, err := key.Public().(interface{ Bytes() ([]byte, error) }).Bytes()
	if err != nil {
		panic(err)
	}
	return map[string]string{
		"kty": "EC", "kid": "ES256", "alg": "ES256", "use": "sig", "crv": "P-256",
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]),
		"y": base64.RawURLEncoding.EncodeToString(point[33:65]),
	}
}

// token signs the usual claims, changed by the given ones; a nil value takes a claim away.
func (i *testIssuer) token(t *testing.T, alg string, changes jwt.MapClaims) string {
	t.Helper()
	return i.tokenSignedBy(t, alg, i.keys[alg], changes)
}

func (i *testIssuer) tokenSignedBy(t *testing.T, alg string, key any, changes jwt.MapClaims) string {
	t.Helper()
	claims := jwt.MapClaims{
		"iss": i.URL, "aud": "secrets", "sub": "alice", "groups": []string{"devs"},
		"email": "alice@example.org", "email_verified": true, "jti": canary,
		"exp": time.Now().Add(time.Hour).Unix(),
	}
	maps.Copy(claims, changes)
	maps.DeleteFunc(claims, func(_ string, v any) bool { return v == nil })
	unsigned := jwt.NewWithClaims(jwt.GetSigningMethod(alg), claims)
	unsigned.Header["kid"] = alg
	signed, err := unsigned.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

const plainMappings = `
  claimMappings:
    username: {claim: sub, prefix: "oidc:"}
    groups: {claim: groups, prefix: "oidc:"}
`

// entry is the issuer's item of the jwt list.
func (i *testIssuer) entry(rest string) string {
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.Certificate().Raw})
	ca := strings.ReplaceAll(strings.TrimSpace(string(block)), "\n", "\n      ")
	return fmt.Sprintf("- issuer:\n    url: %s\n    audiences: [secrets]\n    certificateAuthority: |\n      %s\n%s",
		i.URL, ca, strings.TrimPrefix(rest, "\n"))
}

func configOf(version string, entries ...string) string {
	return "apiVersion: apiserver.config.k8s.io/" + version + "\nkind: AuthenticationConfiguration\njwt:\n" +
		strings.Join(entries, "")
}

// ready waits until every issuer has answered.
func ready(t *testing.T, a *Authenticator) {
	t.Helper()
	err := wait.PollUntilContextCancel(t.Context(), time.Millisecond, true, func(context.Context) (bool, error) {
		return a.HealthCheck() == nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
