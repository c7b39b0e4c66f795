// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/issuer"
)

// grants are what the callers of TestWhoMayOpenWhat have: every combination of the two rights, by both kinds of
// binding.
var grants = harness.ClusterRole("decrypt", harness.Rule("decrypt", "securevalues")) +
	harness.ClusterRole("decrypt-mine", harness.Rule("decrypt", "securevalues", "mine", "absent")) +
	harness.ClusterRole("use-k6", harness.Rule("use", "decrypters", "k6-cloud")) +
	harness.ClusterRole("use-any", harness.Rule("use", "decrypters")) +
	harness.ClusterRole("use-look-alikes",
		harness.Rule("use", "decrypters", "K6-cloud", "k6-cloud2", "k6", "'k6-cloud '", "'*'", "''")) +
	harness.ClusterRole("any-verb-on-k6", "{apiGroups: ['*'], resources: ['*'], resourceNames: [k6-cloud], verbs: ['*']}") +
	harness.ClusterRole("any-verb-on-values", harness.Rule("'*'", "securevalues")) +
	harness.ClusterRole("any-verb-on-decrypters", harness.Rule("'*'", "decrypters")) +
	harness.ClusterRole("use-anything", harness.Rule("decrypt, use", "'*'")) +
	harness.ClusterRole("other-group", "{apiGroups: ['', apps], resources: ['*'], verbs: ['*']}") +
	harness.ClusterRole("read-all",
		harness.Rule("get, list, watch, create, update, patch, delete, extend", "securevalues")) +
	harness.ClusterRole("wildcard", "{apiGroups: ['*'], resources: ['*'], verbs: ['*']}") +
	harness.Grant("group/system:masters", "wildcard", "") + harness.Grant("group/admins", "wildcard", "") + `---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: use-aggregated}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {part: use}}]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: use-k6-part, labels: {part: use}}
rules: [{apiGroups: [secret.grafana.app], resources: [decrypters], resourceNames: [k6-cloud], verbs: [use]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: use-any-part, labels: {part: use}}
rules: [{apiGroups: [secret.grafana.app], resources: [decrypters], verbs: [use]}]
`

// accessCase is a caller, its rights, and what it is answered: for value "mine" (k6-cloud), "other" (k6-cloud), "sm"
// (synthetic-monitoring), "both" (the two), "nobody" (no decrypters), an absent name, and "mine" of namespace
// elsewhere.
type accessCase struct {
	bindings                                         [][2]string // role and namespace
	mine, other, sm, both, nobody, absent, elsewhere int
	groups                                           []string
}

const ok, no, nf = http.StatusOK, http.StatusForbidden, http.StatusNotFound

var accessCases = map[string]accessCase{
	"nothing":            {nil, no, no, no, no, no, no, no, nil},
	"decrypt-only":       {[][2]string{{"decrypt", namespace}}, nf, nf, nf, nf, nf, nf, no, nil},
	"use-only":           {[][2]string{{"use-k6", namespace}}, no, no, no, no, no, no, no, nil},
	"both-by-role":       {[][2]string{{"decrypt", namespace}, {"use-k6", namespace}}, ok, ok, nf, ok, nf, nf, no, nil},
	"both-by-cluster":    {[][2]string{{"decrypt", ""}, {"use-k6", ""}}, ok, ok, nf, ok, nf, nf, ok, nil},
	"decrypt-by-cluster": {[][2]string{{"decrypt", ""}, {"use-k6", namespace}}, ok, ok, nf, ok, nf, nf, nf, nil},
	"use-by-cluster":     {[][2]string{{"decrypt", namespace}, {"use-k6", ""}}, ok, ok, nf, ok, nf, nf, no, nil},
	"use-elsewhere":      {[][2]string{{"decrypt", namespace}, {"use-k6", "elsewhere"}}, nf, nf, nf, nf, nf, nf, no, nil},
	"one-name":           {[][2]string{{"decrypt-mine", namespace}, {"use-k6", namespace}}, ok, no, no, no, no, nf, no, nil},
	"use-any":            {[][2]string{{"decrypt", namespace}, {"use-any", namespace}}, no, no, no, no, no, no, no, nil},
	"look-alikes":        {[][2]string{{"decrypt", namespace}, {"use-look-alikes", namespace}}, nf, nf, nf, nf, nf, nf, no, nil},
	"other-group":        {[][2]string{{"other-group", ""}}, no, no, no, no, no, no, no, nil},
	"writer":             {[][2]string{{"read-all", ""}, {"use-any", ""}}, no, no, no, no, no, no, no, nil},
	"master":             {nil, no, no, no, no, no, no, no, []string{"system:masters"}},
	"master-and-service": {[][2]string{{"decrypt", namespace}, {"use-k6", namespace}}, ok, ok, nf, ok, nf, nf, no, []string{"system:masters"}},
	// A wildcard reads nothing, whichever rule it is in and whatever else the caller was granted by name.
	"wildcard":            {[][2]string{{"wildcard", ""}}, no, no, no, no, no, no, no, nil},
	"wildcard-here":       {[][2]string{{"wildcard", namespace}}, no, no, no, no, no, no, no, nil},
	"wildcard-and-names":  {[][2]string{{"wildcard", ""}, {"decrypt", namespace}, {"use-k6", namespace}}, no, no, no, no, no, no, no, nil},
	"wildcard-elsewhere":  {[][2]string{{"wildcard", "elsewhere"}, {"decrypt", ""}, {"use-k6", ""}}, ok, ok, nf, ok, nf, nf, no, nil},
	"wildcard-by-group":   {[][2]string{{"decrypt", namespace}, {"use-k6", namespace}}, no, no, no, no, no, no, no, []string{"admins"}},
	"any-decrypter-verb":  {[][2]string{{"decrypt", namespace}, {"any-verb-on-decrypters", namespace}}, no, no, no, no, no, no, no, nil},
	"any-resource":        {[][2]string{{"use-anything", namespace}}, no, no, no, no, no, no, no, nil},
	"aggregated-wildcard": {[][2]string{{"decrypt", namespace}, {"use-aggregated", namespace}}, no, no, no, no, no, no, no, nil},
	"any-value-verb-only": {[][2]string{{"any-verb-on-values", namespace}}, nf, nf, nf, nf, nf, nf, no, nil},
	// Verb decrypt on every value of a namespace is what a service has; "*" as its verb changes nothing as long as the
	// decrypter is named.
	"any-value-verb": {[][2]string{{"any-verb-on-values", namespace}, {"use-k6", namespace}}, ok, ok, nf, ok, nf, nf, no, nil},
	"any-verb-on-k6": {[][2]string{{"decrypt", namespace}, {"any-verb-on-k6", namespace}}, ok, ok, nf, ok, nf, nf, no, nil},
}

func TestWhoMayOpenWhat(t *testing.T) {
	rbac := grants
	tokens := make([]string, 0, len(accessCases))
	for name, test := range accessCases {
		tokens = append(tokens, harness.Token("token-of-"+name, name, test.groups...))
		for _, b := range test.bindings {
			rbac += harness.Grant(name, b[0], b[1])
		}
	}
	s := harness.Start(t, harness.Options{Tokens: tokens, RBAC: []string{rbac}})
	canary := harness.Canary()
	s.Create(t, namespace, "mine", canary, "k6-cloud")
	s.Create(t, namespace, "other", canary, "k6-cloud")
	s.Create(t, namespace, "sm", canary, "synthetic-monitoring")
	s.Create(t, namespace, "both", canary, "synthetic-monitoring", "k6-cloud")
	s.Create(t, namespace, "nobody", canary)
	s.Create(t, "elsewhere", "mine", canary, "k6-cloud")

	for name, test := range accessCases {
		t.Run(name, func(t *testing.T) {
			token := "token-of-" + name
			want := map[string]int{
				"mine": test.mine, "other": test.other, "sm": test.sm, "both": test.both, "nobody": test.nobody, "absent": test.absent,
			}
			names := make([]string, 0, len(want))
			for name, code := range want {
				names = append(names, name)
				wantGet(t, get(t, s, token, namespace, name), code, canary)
			}
			wantGet(t, get(t, s, token, "elsewhere", "mine"), test.elsewhere, canary)
			for name, got := range results(t, connectJSON(t, s, token, namespace, names...)) {
				if want := map[int]string{ok: canary, no: "!not authorized", nf: "!not found"}[want[name]]; got != want {
					t.Errorf("%s by RPC: %q, want %q", name, got, want)
				}
			}
		})
	}
	t.Run("the admin", func(t *testing.T) { wantGet(t, get(t, s, s.AdminToken, namespace, "mine"), no, canary) })
	s.Leaks(t, canary)
}

// wantGet asks for a code, and for the value with 200 only.
func wantGet(t *testing.T, got harness.Response, code int, canary string) {
	t.Helper()
	if got.Code != code {
		t.Errorf("got %d, want %d: %.200s", got.Code, code, got.Body)
	}
	if found := len(harness.Find(got.Body, canary)) > 0; found != (code == ok) {
		t.Errorf("the value is in the answer: %v, with %d", found, got.Code)
	}
}

// TestRevoked takes rights and credentials away while the server runs.
func TestRevoked(t *testing.T) {
	s := start(t)
	s.Create(t, namespace, "a", "value", "k6-cloud")
	get(t, s, k6Token, namespace, "a").Want(t, ok)
	file := filepath.Join(s.RBACDir, "test-0.yaml")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "the binding that was taken away counts no more", func() bool { return get(t, s, k6Token, namespace, "a").Code == no })
	harness.WriteFile(t, file, harness.Grant("k6", harness.K6Role, namespace))
	harness.Eventually(t, "it counts again", func() bool { return get(t, s, k6Token, namespace, "a").Code == ok })
	harness.WriteFile(t, s.TokenFile, harness.Token("another", "k6")+"\n")
	harness.Eventually(t, "the token that was taken away is refused", func() bool { return get(t, s, k6Token, namespace, "a").Code == http.StatusUnauthorized })
}

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
