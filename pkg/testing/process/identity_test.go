// SPDX-License-Identifier: Apache-2.0

package process

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/issuer"
)

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
