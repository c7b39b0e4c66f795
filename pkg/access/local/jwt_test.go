// SPDX-License-Identifier: Apache-2.0

package local

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/user"
)

func TestJWT(t *testing.T) {
	issuer, other := newTestIssuer(t), newTestIssuer(t)
	a := newAuthenticator(t, Config{
		TokenAuthFile:            writeFile(t, "tokens.csv", "static,bob,1\n"),
		AuthenticationConfigFile: writeFile(t, "authn.yaml", configOf("v1", issuer.entry(plainMappings))),
	})
	ready(t, a)
	s := serve(t, a)
	good := issuer.token(t, "RS256", nil)
	tests := map[string]struct {
		token string
		want  string
	}{
		"RS256":            {good, "oidc:alice"},
		"ES256":            {issuer.token(t, "ES256", nil), "oidc:alice"},
		"several audience": {issuer.token(t, "RS256", jwt.MapClaims{"aud": []string{"x", "secrets"}}), "oidc:alice"},
		"static token too": {"static", "bob"},
		"expired":          {issuer.token(t, "RS256", jwt.MapClaims{"exp": time.Now().Add(-time.Minute).Unix()}), ""},
		"no expiry":        {issuer.token(t, "RS256", jwt.MapClaims{"exp": nil}), ""},
		"not yet valid":    {issuer.token(t, "RS256", jwt.MapClaims{"nbf": time.Now().Add(time.Hour).Unix()}), ""},
		"wrong audience":   {issuer.token(t, "RS256", jwt.MapClaims{"aud": canary}), ""},
		"no audience":      {issuer.token(t, "RS256", jwt.MapClaims{"aud": nil}), ""},
		"unknown issuer":   {other.token(t, "RS256", nil), ""},
		"other's key":      {issuer.tokenSignedBy(t, "RS256", other.keys["RS256"], nil), ""},
		"no username":      {issuer.token(t, "RS256", jwt.MapClaims{"sub": nil}), ""},
		"username not text": {
			issuer.token(t, "RS256", jwt.MapClaims{"sub": 7}), "",
		},
		"alg none":      {issuer.tokenSignedBy(t, "none", jwt.UnsafeAllowNoneSignatureType, nil), ""},
		"HMAC":          {issuer.tokenSignedBy(t, "HS256", []byte("k"), nil), ""},
		"no signature":  {good[:strings.LastIndex(good, ".")+1], ""},
		"two parts":     {good[:strings.LastIndex(good, ".")], ""},
		"flipped bytes": {good[:len(good)-8] + "AAAAAAAA", ""},
		"not base64":    {"a.!" + canary + ".c", ""},
		"json":          {`{"payload":"` + canary + `"}`, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			code, who, body := s.get(t, secretsPath, "Bearer "+test.token, nil)
			if test.want == "" {
				wantUnauthorized(t, code, body)
				wantTokenUntold(t, a, test.token)
				return
			}
			if who.Name != test.want {
				t.Errorf("got %d %s, want %s", code, body, test.want)
			}
		})
	}
	t.Run("groups", func(t *testing.T) {
		_, who, _ := s.get(t, secretsPath, "Bearer "+good, nil)
		if diff := cmp.Diff([]string{"oidc:devs", user.AllAuthenticated}, who.Groups); diff != "" {
			t.Error(diff)
		}
	})
}

// wantTokenUntold looks at the text that the server logs: no segment of the token may be in it.
func wantTokenUntold(t *testing.T, a *Authenticator, token string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, secretsPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	_, ok, err := a.Request().AuthenticateRequest(req)
	if ok || err == nil {
		t.Fatalf("got %v, %v, want an error", ok, err)
	}
	for segment := range strings.SplitSeq(token, ".") {
		if len(segment) > 8 && strings.Contains(err.Error(), segment) {
			t.Errorf("a part of the token is in %q", err)
		}
	}
}

func TestJWTExpressions(t *testing.T) {
	issuer := newTestIssuer(t)
	mappings := `
  claimValidationRules:
  - {claim: hd, requiredValue: example.org}
  - {expression: "claims.exp - claims.iat <= 86400", message: "the token lives too long"}
  claimMappings:
    username: {expression: "claims.email_verified ? claims.email : ''"}
    groups: {expression: "claims.roles.split(',').map(r, 'role:' + r)"}
    uid: {expression: "claims.sub"}
    extra:
    - {key: example.org/tenant, valueExpression: "claims.tenant"}
  userValidationRules:
  - {expression: "!user.username.startsWith('system:')", message: "no system users"}
  - {expression: "user.groups.all(g, !g.startsWith('system:'))", message: "no system groups"}
`
	a := newAuthenticator(t, Config{AuthenticationConfigFile: writeFile(t, "authn.yaml",
		configOf("v1beta1", issuer.entry(mappings)))})
	ready(t, a)
	s := serve(t, a)
	claims := func(changes jwt.MapClaims) string {
		all := jwt.MapClaims{"hd": "example.org", "roles": "a,b", "tenant": "t1", "iat": time.Now().Unix()}
		maps.Copy(all, changes)
		return "Bearer " + issuer.token(t, "ES256", all)
	}
	want := &user.DefaultInfo{
		Name: "alice@example.org", UID: "alice", Groups: []string{"role:a", "role:b", user.AllAuthenticated},
		Extra: map[string][]string{"example.org/tenant": {"t1"}, user.CredentialIDKey: {"JTI=" + canary}},
	}
	_, who, body := s.get(t, secretsPath, claims(nil), nil)
	if diff := cmp.Diff(want, who); diff != "" {
		t.Errorf("%s: %s", body, diff)
	}
	refused := map[string]jwt.MapClaims{
		"required claim":     {"hd": "example.net"},
		"claim absent":       {"hd": nil},
		"rule":               {"iat": time.Now().Add(-48 * time.Hour).Unix()},
		"unverified address": {"email_verified": false},
		"system user":        {"email": "system:admin"},
		"absent for CEL":     {"roles": nil},
	}
	for name, changes := range refused {
		t.Run(name, func(t *testing.T) {
			code, _, body := s.get(t, secretsPath, claims(changes), nil)
			wantUnauthorized(t, code, body)
		})
	}
}

func TestConfigRefused(t *testing.T) {
	issuer := newTestIssuer(t)
	good := configOf("v1", issuer.entry(plainMappings))
	bad := func(mappings string) string { return configOf("v1", issuer.entry(mappings)) }
	tests := map[string]struct{ content, want string }{
		"empty":   {" \n", "is empty"},
		"no yaml": {"{", "decoding"},
		"other kind": {"apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: []\n",
			"expected an AuthenticationConfiguration"},
		"other version":  {strings.Replace(good, "/v1", "/v9", 1), "v9"},
		"unknown field":  {good + "surprise: 1\n", `unknown field "surprise"`},
		"repeated field": {good + "jwt: []\n", `"jwt" already set`},
		"anonymous":      {good + "anonymous: {enabled: false}\n", "anonymous: Forbidden"},
		"anonymous, open": {good + "anonymous: {enabled: true, conditions: [{path: /livez}]}\n",
			"anonymous: Forbidden"},
		"egress": {strings.Replace(good, "audiences:", "egressSelectorType: cluster\n    audiences:", 1),
			"jwt[0].issuer.egressSelectorType"},
		"plain http":      {strings.Replace(good, "https:", "http:", 1), "URL scheme must be https"},
		"no audience":     {strings.Replace(good, "[secrets]", "[]", 1), "jwt[0].issuer.audiences"},
		"bad certificate": {strings.Replace(good, "MII", "!II", 1), "jwt[0].issuer.certificateAuthority"},
		"issuer twice": {configOf("v1", issuer.entry(plainMappings), issuer.entry(plainMappings)),
			"jwt[1].issuer.url: Duplicate"},
		"no username": {bad("  claimMappings: {}\n"), "jwt[0].claimMappings.username"},
		"no prefix": {bad("  claimMappings: {username: {claim: sub}}\n"),
			"jwt[0].claimMappings.username.prefix"},
		"broken expression": {bad("  claimMappings: {username: {expression: 'claims.('}}\n"),
			"jwt[0].claimMappings.username.expression"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := New(t.Context(), Config{AuthenticationConfigFile: writeFile(t, "authn.yaml", test.content)})
			if err == nil {
				t.Fatal("accepted")
			}
			for _, want := range []string{"--authentication-config", "authn.yaml", test.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestNoIssuersIsFine(t *testing.T) {
	a := newAuthenticator(t, Config{AuthenticationConfigFile: writeFile(t, "authn.yaml", configOf("v1", " []\n"))})
	code, _, body := serve(t, a).get(t, secretsPath, "Bearer "+canary, nil)
	wantUnauthorized(t, code, body)
}

func TestUnreachableIssuerDoesNotStopTheServer(t *testing.T) {
	up, down := newTestIssuer(t), newTestIssuer(t)
	down.down.Store(true)
	a := newAuthenticator(t, Config{
		AuthenticationConfigFile: writeFile(t, "authn.yaml",
			configOf("v1", down.entry(plainMappings), up.entry(plainMappings))),
	})
	s := serve(t, a)
	if err := a.HealthCheck(); err == nil || !strings.Contains(err.Error(), down.URL) {
		t.Errorf("got %v, want the issuer that is down", err)
	}
	code, _, body := s.get(t, secretsPath, "Bearer "+down.token(t, "RS256", nil), nil)
	wantUnauthorized(t, code, body)
	for reachable := a.issuers.current.Load().checks[1]; reachable() != nil; {
		time.Sleep(time.Millisecond)
	}
	if _, who, body := s.get(t, secretsPath, "Bearer "+up.token(t, "RS256", nil), nil); who.Name != "oidc:alice" {
		t.Errorf("got %s, want oidc:alice", body)
	}
}

// TestCredentialsForgetSooner lets a token run out: Credentials, which looks again after half a second, refuses it
// while Request still goes by what it remembers.
func TestCredentialsForgetSooner(t *testing.T) {
	issuer := newTestIssuer(t)
	a := newAuthenticator(t, Config{AuthenticationConfigFile: writeFile(t, "authn.yaml",
		configOf("v1", issuer.entry(plainMappings)))})
	ready(t, a)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, secretsPath, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+issuer.token(t, "RS256",
		jwt.MapClaims{"exp": time.Now().Add(2 * time.Second).Unix()}))
	asks := func(by func() (bool, error)) bool {
		ok, err := by()
		return ok && err == nil
	}
	credentials := func() (bool, error) {
		_, ok, err := a.Credentials().AuthenticateRequest(req.Clone(t.Context()))
		return ok, err
	}
	request := func() (bool, error) {
		_, ok, err := a.Request().AuthenticateRequest(req.Clone(t.Context()))
		return ok, err
	}
	if !asks(credentials) || !asks(request) {
		t.Fatal("the token is not accepted while it is valid")
	}
	for deadline := time.Now().Add(30 * time.Second); asks(credentials); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("Credentials still accepts a token that ran out")
		}
	}
	if !asks(request) {
		t.Error("Request forgot the token at the same time: this test shows nothing")
	}
}
