// SPDX-License-Identifier: Apache-2.0

package local

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
)

const secretsPath = "/apis/secret.grafana.app/v1beta1/namespaces/default/securevalues"

// adminToken stands for the standalone server's own token.
type adminToken string

func (a adminToken) AuthenticateToken(_ context.Context, token string) (*authenticator.Response, bool, error) {
	if token != string(a) {
		return nil, false, nil
	}
	return &authenticator.Response{User: &user.DefaultInfo{Name: "admin",
		Groups: []string{user.SystemPrivilegedGroup}}}, true, nil
}

func TestBearerTokens(t *testing.T) {
	s := serve(t, newAuthenticator(t, Config{
		TokenAuthFile: writeFile(t, "tokens.csv", canary+`,alice,1,"devs,ops"`+"\n"),
		Admin:         adminToken("admin-token"),
	}))
	alice := &user.DefaultInfo{Name: "alice", UID: "1", Groups: []string{"devs", "ops", user.AllAuthenticated}}
	admin := &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}}
	tests := map[string]struct {
		authorization string
		want          *user.DefaultInfo
	}{
		"token":            {"Bearer " + canary, alice},
		"lower case":       {"bearer " + canary, alice},
		"admin":            {"Bearer admin-token", admin},
		"nothing":          {"", nil},
		"unknown token":    {"Bearer x" + canary, nil},
		"prefix of token":  {"Bearer " + canary[:15], nil},
		"other case":       {"Bearer " + strings.ToUpper(canary), nil},
		"no token":         {"Bearer ", nil},
		"two spaces":       {"Bearer  " + canary, nil},
		"other scheme":     {"Token " + canary, nil},
		"basic, password":  {"Basic " + base64.StdEncoding.EncodeToString([]byte("alice:"+canary)), nil},
		"basic, bare":      {"Basic " + canary, nil},
		"token, no scheme": {canary, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			code, who, body := s.get(t, secretsPath, test.authorization, nil)
			if test.want == nil {
				wantUnauthorized(t, code, body)
				return
			}
			if diff := cmp.Diff(test.want, who); diff != "" {
				t.Errorf("code %d: %s", code, diff)
			}
		})
	}
}

func wantUnauthorized(t *testing.T, code int, body string) {
	t.Helper()
	if code != http.StatusUnauthorized || !strings.Contains(body, `"reason":"Unauthorized"`) {
		t.Errorf("got %d %s, want 401 Unauthorized", code, body)
	}
	if strings.Contains(body, canary) {
		t.Errorf("the token is in %s", body)
	}
}

func TestTokenElsewhereIsNoCredential(t *testing.T) {
	s := serve(t, newAuthenticator(t, Config{TokenAuthFile: writeFile(t, "tokens.csv", canary+",alice,1\n")}))
	encoded := base64.RawURLEncoding.EncodeToString([]byte(canary))
	tests := map[string]func(*http.Request){
		"query": func(req *http.Request) { req.URL.RawQuery = "access_token=" + canary + "&token=" + canary },
		"websocket protocol": func(req *http.Request) {
			req.Header.Set("Connection", "Upgrade")
			req.Header.Set("Upgrade", "websocket")
			req.Header.Set("Sec-WebSocket-Protocol",
				"base64url.bearer.authorization.k8s.io."+encoded+", base64.binary.k8s.io")
		},
		"cookie":      func(req *http.Request) { req.Header.Set("Cookie", "token="+canary) },
		"front proxy": func(req *http.Request) { req.Header.Set("X-Remote-User", "alice") },
		"impersonate": func(req *http.Request) { req.Header.Set("Impersonate-User", "alice") },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+secretsPath, nil)
			if err != nil {
				t.Fatal(err)
			}
			change(req)
			code, _, body := s.do(t, req, nil)
			wantUnauthorized(t, code, body)
		})
	}
}

func TestAnonymousOnHealthPathsOnly(t *testing.T) {
	a := newAuthenticator(t, Config{TokenAuthFile: writeFile(t, "tokens.csv", canary+",alice,1\n")})
	s := serve(t, a)
	tests := map[string]bool{
		"/livez": true, "/readyz": true, "/healthz": true,
		"/livez/ping": true, "/readyz/etcd": true, "/readyz/poststarthook/a": true, "/livez?verbose": true,
		"/livez/": true,
		"/":       false, "/metrics": false, "/version": false, "/openapi/v2": false, "/apis": false,
		secretsPath: false,
		"/livezz":   false, "/live": false, "/Livez": false, "//livez": false, "/x/livez": false, "/apis/livez": false,
		"/livez/.." + secretsPath: false, "/livez/%2e%2e" + secretsPath: false, "/livez//ping": false,
		"/livez/../metrics": false,
		"/livez/./x":        false, "/livez%2f..%2fmetrics": false, "/metrics/../livez": false,
	}
	for path, allowed := range tests {
		t.Run(path, func(t *testing.T) {
			code, who, body := s.get(t, path, "", nil)
			if !allowed {
				wantUnauthorized(t, code, body)
				return
			}
			if who.Name != user.Anonymous || !slices.Equal(who.Groups, []string{user.AllUnauthenticated}) {
				t.Errorf("got %d %s, want system:anonymous", code, body)
			}
		})
	}
	t.Run("not by Credentials", func(t *testing.T) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "/livez", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok, err := a.Credentials().AuthenticateRequest(req); ok || err != nil {
			t.Errorf("got %v, %v", ok, err)
		}
	})
	t.Run("a wrong token is refused here too", func(t *testing.T) {
		code, _, body := s.get(t, "/livez", "Bearer wrong", nil)
		wantUnauthorized(t, code, body)
	})
	t.Run("a right token counts here too", func(t *testing.T) {
		if _, who, body := s.get(t, "/livez", "Bearer "+canary, nil); who.Name != "alice" {
			t.Errorf("got %s, want alice", body)
		}
	})
}

func TestClientCertificates(t *testing.T) {
	trusted, stranger := certs.NewCA(t, "trusted"), certs.NewCA(t, "stranger")
	s := serve(t, newAuthenticator(t, Config{
		ClientCAFile:  writeFile(t, "ca.pem", trusted.PEM()),
		TokenAuthFile: writeFile(t, "tokens.csv", canary+",bob,1\n"),
	}))
	expire := func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }
	future := func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }
	server := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }
	nameless := func(c *x509.Certificate) { c.Subject = pkix.Name{Organization: []string{"devs"}} }
	token := "Bearer " + canary
	tests := map[string]struct {
		cert          *tls.Certificate
		authorization string
		want          string
	}{
		"valid":                  {client(t, trusted, nil), "", "alice"},
		"none":                   {nil, "", ""},
		"expired":                {client(t, trusted, expire), "", ""},
		"not yet valid":          {client(t, trusted, future), "", ""},
		"other authority":        {client(t, stranger, nil), "", ""},
		"for servers":            {client(t, trusted, server), "", ""},
		"no common name":         {client(t, trusted, nameless), "", ""},
		"certificate goes first": {client(t, trusted, nil), token, "alice"},
		"expired, good token":    {client(t, trusted, expire), token, "bob"},
		"valid, wrong token":     {client(t, trusted, nil), "Bearer wrong", "alice"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			code, who, body := s.get(t, secretsPath, test.authorization, test.cert)
			if test.want == "" {
				wantUnauthorized(t, code, body)
				return
			}
			if who.Name != test.want || !slices.Contains(who.Groups, user.AllAuthenticated) {
				t.Errorf("got %d %s, want %s", code, body, test.want)
			}
		})
	}
	t.Run("organizations are groups", func(t *testing.T) {
		_, who, _ := s.get(t, secretsPath, "", client(t, trusted, nil))
		if diff := cmp.Diff([]string{"devs", user.AllAuthenticated}, who.Groups); diff != "" {
			t.Error(diff)
		}
	})
}

func TestNothingConfigured(t *testing.T) {
	a := newAuthenticator(t, Config{})
	if ca := a.ClientCA(); ca != nil {
		t.Errorf("got the client CA %v, want nil", ca)
	}
	if err := a.HealthCheck(); err != nil {
		t.Error(err)
	}
	s := serve(t, a)
	cert := client(t, certs.NewCA(t, "any"), nil)
	for _, authorization := range []string{"", "Bearer " + canary} {
		code, _, body := s.get(t, secretsPath, authorization, cert)
		wantUnauthorized(t, code, body)
	}
}

func TestNewNamesTheFaultyFile(t *testing.T) {
	missing := t.TempDir() + "/absent"
	tests := map[string]struct {
		config Config
		want   string
	}{
		"no tokens": {Config{TokenAuthFile: missing}, "--token-auth-file: open "},
		"no ca":     {Config{ClientCAFile: missing}, "--client-ca-file: open "},
		"no config": {Config{AuthenticationConfigFile: missing}, "--authentication-config: open "},
		"bad ca":    {Config{ClientCAFile: writeFile(t, "ca.pem", "no pem")}, "ca.pem"},
		"empty ca":  {Config{ClientCAFile: writeFile(t, "empty.pem", "")}, "empty.pem"},
		"a folder":  {Config{TokenAuthFile: t.TempDir()}, "is a directory"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := New(t.Context(), test.config)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}
