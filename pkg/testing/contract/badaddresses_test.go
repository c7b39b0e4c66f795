// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// badAddresses are names, verbs and paths that do not exist, or that a careless server would read as something else.
func (a *api) badAddresses(t *testing.T) {
	const namespace = "addresses"
	stored := a.create(t, namespace, "kept", nil)
	all, one := harness.Collection(namespace), path(namespace, "kept")
	long := strings.Repeat("n", 500)
	body := func(name string) string { return text(t, manifest(name, a.canary(), nil)) }
	cases := []struct {
		method, path, body string
		code               int
		reason             metav1.StatusReason
	}{
		{http.MethodGet, all + "/..", "", http.StatusBadRequest, metav1.StatusReasonBadRequest},
		{http.MethodGet, all + "/%2e%2e", "", http.StatusBadRequest, metav1.StatusReasonBadRequest},
		{http.MethodDelete, all + "/..", "", http.StatusBadRequest, metav1.StatusReasonBadRequest},
		{http.MethodPut, all + "/..", body(".."), http.StatusBadRequest, metav1.StatusReasonBadRequest},
		{http.MethodGet, path("..", "kept"), "", http.StatusBadRequest, metav1.StatusReasonBadRequest},
		{http.MethodGet, harness.Collection(".."), "", http.StatusBadRequest, metav1.StatusReasonBadRequest},
		{http.MethodGet, harness.Collection("a%25b"), "", http.StatusBadRequest, metav1.StatusReasonBadRequest},
		{http.MethodPost, harness.Collection(".."), body("kept"), http.StatusBadRequest, metav1.StatusReasonBadRequest},
		{http.MethodPost, harness.Collection("UPPER"), body("kept"), http.StatusBadRequest, metav1.StatusReasonInvalid},
		{http.MethodPost, harness.Collection(strings.Repeat("n", 64)), body("kept"), http.StatusBadRequest,
			metav1.StatusReasonInvalid},
		{http.MethodGet, all + "/..%2f" + namespace + "%2fkept", "", http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodGet, all + "/kept%2fx", "", http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodPut, all + "/kept%2fx", body("kept"), http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodDelete, all + "/kept%2fx", "", http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodGet, all + "/KEPT", "", http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodPut, all + "/KEPT", body("KEPT"), http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodGet, all + "/" + long, "", http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodPut, all + "/" + long, body(long), http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodDelete, all + "/" + long, "", http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodGet, all + "/a%00b", "", http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodPost, one, body("kept"), http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed},
		{http.MethodPut, all, body("kept"), http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed},
		{http.MethodPatch, all, "{}", http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed},
		{http.MethodOptions, one, "", http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed},
		{http.MethodTrace, one, "", http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed},
		{"PROPFIND", one, "", http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed},
		{http.MethodGet, one + "/value", "", http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodPut, one + "/status", body("kept"), http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodGet, one + "/decrypt", "", http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodPost, one + "/exec", "", http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodGet, one + "/proxy/", "", http.StatusNotFound, metav1.StatusReasonNotFound},
		{http.MethodPost, "/apis/secret.grafana.app/v1beta1/securevalues", body("kept"), http.StatusMethodNotAllowed,
			metav1.StatusReasonMethodNotAllowed},
		{http.MethodGet, "/apis/secret.grafana.app/v2/namespaces/addresses/securevalues", "", http.StatusNotFound,
			metav1.StatusReasonNotFound},
		{http.MethodGet, "/apis/secret.grafana.app/v1beta1/namespaces/addresses/secrets", "", http.StatusNotFound,
			metav1.StatusReasonNotFound},
	}
	for _, c := range cases {
		// The admin may do everything, so what the server says is about the address and not about rights.
		got := a.send(t, harness.Request{Method: c.method, Path: c.path, Token: a.AdminToken, ContentType: jsonType,
			Body: c.body})
		if got.Code != c.code {
			t.Errorf("%s %s: want %d, got %d: %s", c.method, c.path, c.code, got.Code, got.Body)
		} else if status := got.Status(t); status.Reason != c.reason || int(status.Code) != c.code {
			t.Errorf("%s %s: want a Status with reason %s, got %s", c.method, c.path, c.reason, got.Body)
		}
		if c.code == http.StatusMethodNotAllowed || c.code == http.StatusNotFound {
			// Who may not do it learns no more than that.
			got = a.send(t, harness.Request{Method: c.method, Path: c.path, Token: nobodyToken, ContentType: jsonType,
				Body: c.body})
			if got.Code != http.StatusForbidden {
				t.Errorf("%s %s as nobody: want 403, got %d: %s", c.method, c.path, got.Code, got.Body)
			}
		}
	}
	for _, p := range []string{all + "/", all + "/kept/"} { // a slash at the end changes nothing
		a.want(t, http.StatusOK, http.MethodGet, p, "", "")
	}
	if now := a.get(t, namespace, "kept"); at(now, "metadata", "resourceVersion") != at(stored, "metadata",
		"resourceVersion") {
		t.Errorf("one of these requests changed the object: %v", now)
	}
	if found := a.get(t, namespace, "")["items"].([]any); len(found) != 1 {
		t.Errorf("want the one object that was there, got %v", found)
	}
}

// badSelectors try to select by the value. Neither the answer nor a log may repeat what was tried.
func (a *api) badSelectors(t *testing.T) {
	a.create(t, "selectors", "kept", nil)
	for _, query := range []string{
		"fieldSelector=spec.value=CANARY", "fieldSelector=spec.value%3DCANARY", "fieldSelector=spec.value!=CANARY",
		"fieldSelector=metadata.name=kept,spec.value==CANARY", "fieldSelector=CANARY", "fieldSelector=CANARY=x",
		"fieldSelector=spec.description=CANARY", "fieldSelector=status.version=CANARY",
		"watch=true&fieldSelector=spec.value=CANARY",
		"fieldSelector=spec.value%3D%22CANARY%", "fieldSelector=spec.decrypters=CANARY", "fieldSelector==CANARY",
	} {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			target := harness.Collection("selectors") + "?" + strings.ReplaceAll(query, "CANARY", a.canary())
			if _, err := url.Parse(target); err != nil {
				t.Fatal(err)
			}
			got := a.do(t, method, target, "", "")
			if got.Code != http.StatusBadRequest {
				t.Errorf("%s %s: want 400, got %d: %s", method, query, got.Code, got.Body)
				continue
			}
			if status := got.Status(t); status.Reason != metav1.StatusReasonBadRequest {
				t.Errorf("%s %s: want the reason BadRequest, got %s", method, query, got.Body)
			}
		}
	}
	for _, query := range []string{"limit=x", "resourceVersion=x", "continue=x", "labelSelector=a%20b%20c",
		"timeoutSeconds=x"} {
		if got := a.do(t, http.MethodGet, harness.Collection("selectors")+"?"+query, "",
			""); got.Code != http.StatusBadRequest {
			t.Errorf("GET ?%s: want 400, got %d: %s", query, got.Code, got.Body)
		}
	}
	if got := a.do(t, http.MethodGet, path("selectors", "kept")+"?resourceVersion=x", "",
		""); got.Code != http.StatusBadRequest {
		t.Errorf("GET of one object ?resourceVersion=x: want 400, got %d: %s", got.Code, got.Body)
	}
	a.get(t, "selectors", "kept")
}
