// SPDX-License-Identifier: Apache-2.0

package process

import (
	"crypto/tls"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/issuer"
)

// roles are what the callers of TestAccess have.
var roles = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: one-name, namespace: rbac}
rules:
- {apiGroups: [secret.grafana.app], resources: [securevalues], resourceNames: [mine], verbs: [get, patch]}
- {apiGroups: [secret.grafana.app], resources: [securevalues/sub], verbs: ['*']}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: one-name, namespace: rbac}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: one-name}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: named}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: wild, namespace: rbac}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: all-of-the-group}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: wild}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: scraper}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: scraper}
subjects: [{kind: ServiceAccount, name: scraper, namespace: monitoring}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: lister-group}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: lister}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: 'oidc:devs'}]
` + harness.ClusterRole("all-of-the-group", harness.Rule("'*'", "'*'")) +
	harness.ClusterRole("scraper", "{nonResourceURLs: [/metrics, /readyz/*], verbs: [get]}") + lister("certified")

// Every way to say who one is, and every kind of rule, through the real flags.
func TestAccess(t *testing.T) {
	provider := issuer.New(t)
	clients := certs.NewCA(t, "clients")
	dir := t.TempDir()
	config, ca := filepath.Join(dir, "authentication.yaml"), filepath.Join(dir, "clients.crt")
	harness.WriteFile(t, config, provider.Config())
	harness.WriteFile(t, ca, clients.PEM())
	s := harness.Start(t, harness.Options{
		RBAC: []string{roles},
		Tokens: []string{
			harness.Token("t-named", "named"), harness.Token("t-wild", "walter", "other", "wild"), harness.Token("t-nobody", "nobody"),
			harness.Token("t-scraper", "system:serviceaccount:monitoring:scraper"), harness.Token("t-root", "root", "system:masters"),
		},
		Args: []string{"--authentication-config=" + config, "--client-ca-file=" + ca},
	})
	for _, name := range []string{"mine", "other"} {
		s.Create(t, "rbac", name, harness.Canary())
	}
	t.Run("roles", func(t *testing.T) { wantDecisions(t, s) })
	t.Run("texts", func(t *testing.T) { wantTexts(t, s) })
	t.Run("client certificates", func(t *testing.T) { wantCertificates(t, s, clients) })
	t.Run("JWT", func(t *testing.T) { wantJWT(t, s, provider) })
}

func wantDecisions(t *testing.T, s *harness.Server) {
	t.Helper()
	collection, elsewhere := harness.Collection("rbac"), harness.Collection("elsewhere")
	const label = `{"metadata":{"labels":{"a":"b"}}}`
	for _, test := range []struct {
		token, method, path string
		want                int
	}{
		{"t-named", "GET", collection + "/mine", 200},
		{"t-named", "PATCH", collection + "/mine", 200},
		{"t-named", "DELETE", collection + "/mine", 403},
		{"t-named", "GET", collection + "/other", 403},
		{"t-named", "GET", collection + "/absent", 403},
		{"t-named", "GET", collection, 403},
		{"t-named", "GET", collection + "?fieldSelector=metadata.name%3Dmine", 403},
		{"t-named", "GET", collection + "/other/sub", 404}, // allowed, but there is no such subresource
		{"t-named", "GET", collection + "/other/rewrap", 403},
		{"t-wild", "GET", collection, 200},
		{"t-wild", "PATCH", collection + "/other", 200},
		{"t-wild", "GET", collection + "/other/rewrap", 405}, // allowed, but a rewrap is only posted
		{"t-wild", "GET", elsewhere, 403},
		{"t-wild", "GET", "/apis/secret.grafana.app/v1beta1/securevalues", 403},
		{"t-wild", "GET", "/metrics", 403},
		{"t-scraper", "GET", "/metrics", 200},
		{"t-scraper", "GET", "/readyz/etcd", 200},
		{"t-scraper", "GET", "/livez/ping", 403},
		{"t-scraper", "GET", collection, 403},
		{"t-nobody", "GET", collection, 403},
		{"t-nobody", "GET", "/apis", 200},
		{"t-nobody", "GET", "/version", 200},
		{"t-nobody", "GET", "/metrics", 403},
		{"t-root", "GET", "/metrics", 200},
		{"t-root", "GET", elsewhere, 200},
		{"t-root", "PATCH", collection + "/other", 200},
	} {
		request := harness.Request{Method: test.method, Path: test.path, Token: test.token}
		if test.method == http.MethodPatch {
			request.ContentType, request.Body = "application/merge-patch+json", label
		}
		if got := s.Do(t, request); got.Code != test.want {
			t.Errorf("%s: %s %s: %d %s, want %d", test.token, test.method, test.path, got.Code, got.Body, test.want)
		}
	}
}

// wantTexts checks the bodies of 401 and 403, and the ways in that are closed.
func wantTexts(t *testing.T, s *harness.Server) {
	t.Helper()
	path := harness.Collection("rbac")
	for name, header := range map[string]http.Header{
		"nothing":             {},
		"basic":               {"Authorization": {"Basic YWRtaW46YWRtaW4="}},
		"unknown token":       {"Authorization": {"Bearer t-unknown"}},
		"user name as token":  {"Authorization": {"Bearer named"}},
		"front proxy headers": {"X-Remote-User": {"root"}, "X-Remote-Group": {"system:masters"}},
		"impersonation":       {"Impersonate-User": {"root"}, "Impersonate-Group": {"system:masters"}},
	} {
		got := s.Do(t, harness.Request{Method: http.MethodGet, Path: path, Header: header})
		if status := got.Status(t); got.Code != 401 || status.Reason != "Unauthorized" || status.Message != "Unauthorized" || status.Code != 401 {
			t.Errorf("%s: %d %s", name, got.Code, got.Body)
		}
	}
	if got := s.Get(t, path+"?access_token="+s.AdminToken, "").Code; got != http.StatusUnauthorized {
		t.Errorf("a token in the query: %d", got)
	}
	got := s.Get(t, path+"/mine", "t-nobody")
	want := `securevalues.secret.grafana.app "mine" is forbidden: User "nobody" cannot get resource "securevalues" in API group "secret.grafana.app" in the namespace "rbac"`
	if status := got.Status(t); status.Reason != "Forbidden" || !strings.HasPrefix(status.Message, want) || status.Details.Name != "mine" {
		t.Errorf("403: %s", got.Body)
	}
	got = s.Do(t, harness.Request{
		Method: http.MethodGet, Path: path, Token: "t-nobody", Header: http.Header{"Impersonate-User": {"root"}, "Impersonate-Group": {"system:masters"}},
	})
	if got.Code != http.StatusForbidden || !strings.Contains(got.Status(t).Message, "impersonate") {
		t.Errorf("impersonation without the right: %d %s", got.Code, got.Body)
	}
}

func wantCertificates(t *testing.T, s *harness.Server, ca *certs.CA) {
	t.Helper()
	another := certs.NewCA(t, "clients")
	for name, test := range map[string]struct {
		certificate tls.Certificate
		path        string
		want        int
	}{
		"by name":          {ca.Client(t, "certified"), harness.Collection("rbac"), http.StatusOK},
		"by group":         {ca.Client(t, "x", "wild"), harness.Collection("rbac"), http.StatusOK},
		"no role":          {ca.Client(t, "x"), harness.Collection("rbac"), http.StatusForbidden},
		"masters":          {ca.Client(t, "x", "system:masters"), "/metrics", http.StatusOK},
		"expired":          {ca.ClientUntil(t, time.Now().Add(-time.Minute), "certified"), harness.Collection("rbac"), http.StatusUnauthorized},
		"of another CA":    {another.Client(t, "certified"), harness.Collection("rbac"), http.StatusUnauthorized},
		"other CA, health": {another.Client(t, "certified"), "/livez", http.StatusUnauthorized},
	} {
		if got := s.As(t, test.certificate).Get(t, test.path, "").Code; got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func wantJWT(t *testing.T, s *harness.Server, i *issuer.Issuer) {
	t.Helper()
	path := harness.Collection("rbac")
	good := i.Token(t, nil)
	harness.Eventually(t, "the issuer's tokens are accepted", func() bool { return s.Get(t, path, good).Code == http.StatusOK })
	for name, test := range map[string]struct {
		token string
		want  int
	}{
		"no group":           {i.Token(t, jwt.MapClaims{"groups": []string{}}), http.StatusForbidden},
		"group without mark": {i.Token(t, jwt.MapClaims{"groups": []string{"wild", "system:masters"}}), http.StatusForbidden},
		"expired":            {i.Token(t, jwt.MapClaims{"exp": time.Now().Add(-time.Hour).Unix()}), http.StatusUnauthorized},
		"another audience":   {i.Token(t, jwt.MapClaims{"aud": "others"}), http.StatusUnauthorized},
		"another issuer":     {i.Token(t, jwt.MapClaims{"iss": "https://127.0.0.1:1"}), http.StatusUnauthorized},
		"another key":        {i.Forged(t, nil), http.StatusUnauthorized},
		"cut":                {good[:len(good)-4], http.StatusUnauthorized},
	} {
		if got := s.Get(t, path, test.token).Code; got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	if log := s.Log(t); strings.Contains(log, good) || strings.Contains(log, strings.Split(good, ".")[2]) {
		t.Error("the log holds a token")
	}
}
