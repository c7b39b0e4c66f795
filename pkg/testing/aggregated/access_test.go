// SPDX-License-Identifier: Apache-2.0

package aggregated

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

// A revoked token, and a right that was taken away, stop working. A token never reaches the log, at -v=10.
func TestTokens(t *testing.T) {
	t.Parallel()
	c := harness.NewCluster(t)
	s := harness.StartAggregated(t, c, "--authentication-token-webhook-cache-ttl=0s",
		"--authorization-webhook-cache-authorized-ttl=0s", "--authorization-webhook-cache-unauthorized-ttl=0s")
	token, ours := harness.Canary(), harness.Canary()
	c.API.SetToken(token, kubeapi.Token{User: "ann", Audiences: []string{kubeapi.Audience}})
	c.API.SetToken(ours, kubeapi.Token{User: "ann", Audiences: []string{"secret.grafana.app"}})
	want := func(what, token string, code int) {
		t.Helper()
		if got := list(t, s, token, nil); got != code {
			t.Errorf("%s: %d, want %d", what, got, code)
		}
	}
	want("no right", token, http.StatusForbidden)
	c.API.Allow(allowUsers("ann"))
	want("right granted", token, http.StatusOK)
	want("token for the decrypt port", ours, http.StatusUnauthorized)
	c.API.Allow(allowUsers())
	want("right taken away", token, http.StatusForbidden)
	c.API.Allow(allowUsers("ann"))
	c.API.RemoveToken(token)
	want("token revoked", token, http.StatusUnauthorized)
	s.Stop(t)
	s.Leaks(t, token, ours)
	if strings.Contains(s.Log(t), c.API.Secret) {
		t.Error("the server's own token is in its log")
	}
}

// kube-apiserver passes on the id under which it audits a request: ours is the other half of the record.
func TestAuditID(t *testing.T) {
	t.Parallel()
	const id = "7d0b6f5e-audit-id-of-the-caller"
	c := harness.NewCluster(t)
	c.API.Allow(allowUsers("ann"))
	s := harness.StartAggregated(t, c)
	proxy := s.As(t, c.ProxyCA.Client(t, harness.FrontProxy))
	value := harness.Canary()
	header := remote("ann")
	header["Audit-Id"] = []string{id}
	if got := create(t, proxy, "one", value, header); got.Code != http.StatusCreated || got.Header.Get("Audit-Id") != id {
		t.Errorf("create: %d, Audit-Id %q", got.Code, got.Header.Get("Audit-Id"))
	}
	s.Stop(t)
	found := false
	for line := range bytes.Lines(harness.ReadFile(t, s.AuditFile)) {
		var event auditv1.Event
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatal(err)
		}
		if event.AuditID == id && event.Stage == "ResponseComplete" {
			found = true
			if event.User.Username != "ann" || event.Verb != "create" {
				t.Errorf("event %+v", event)
			}
		}
	}
	if !found {
		t.Errorf("no event has the id of the caller")
	}
	s.Leaks(t, value)
}
