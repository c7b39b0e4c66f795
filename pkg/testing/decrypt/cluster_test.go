// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"net/http"
	"sync/atomic"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

const (
	audience = "secret.grafana.app"
	account  = "system:serviceaccount:default:k6"
)

// TestInACluster opens values with ServiceAccount tokens that a kube-apiserver reviews: by audience, by both rights,
// and no longer than the rights last.
func TestInACluster(t *testing.T) {
	c := harness.NewCluster(t)
	var revoked atomic.Bool
	c.API.Allow(func(review authorizationv1.SubjectAccessReviewSpec) bool {
		asked := review.ResourceAttributes
		switch {
		case review.User == "writer":
			return true
		case asked == nil || review.User != account || revoked.Load() || asked.Namespace != namespace || asked.Group != audience:
			return false
		}
		return asked.Verb == "decrypt" && asked.Resource == "securevalues" && asked.Name != "hidden" ||
			asked.Verb == "use" && asked.Resource == "decrypters" && asked.Name == "k6-cloud"
	})
	good, coreOnly, master := kubeapi.JWT("good", audience), kubeapi.JWT("core", kubeapi.Audience), kubeapi.JWT("master", audience)
	c.API.SetToken(good, kubeapi.Token{User: account, Groups: []string{"system:serviceaccounts"}, Audiences: []string{audience}})
	c.API.SetToken(coreOnly, kubeapi.Token{User: account, Audiences: []string{kubeapi.Audience}})
	c.API.SetToken(master, kubeapi.Token{User: "root", Groups: []string{"system:masters"}, Audiences: []string{audience}})
	s := harness.StartAggregated(t, c)
	proxy := s.As(t, c.ProxyCA.Client(t, harness.FrontProxy))
	canary := harness.Canary()
	for name, decrypters := range map[string]string{"a": `["k6-cloud"]`, "sm": `["synthetic-monitoring"]`, "hidden": `["k6-cloud"]`} {
		got := proxy.Do(t, harness.Request{
			Method: http.MethodPost, Path: harness.Collection(namespace), Header: http.Header{"X-Remote-User": {"writer"}},
			Body: `{"metadata":{"name":"` + name + `"},"spec":{"description":"d","value":"` + canary + `","decrypters":` + decrypters + `}}`,
		})
		if got.Code != http.StatusCreated {
			t.Fatalf("%d %s", got.Code, got.Body)
		}
	}
	wantGet(t, get(t, s, good, namespace, "a"), ok, canary)
	wantGet(t, get(t, s, good, namespace, "sm"), nf, canary)
	wantGet(t, get(t, s, good, namespace, "absent"), nf, canary)
	wantGet(t, get(t, s, good, namespace, "hidden"), no, canary)
	wantGet(t, get(t, s, good, "other", "a"), no, canary)
	wantGet(t, get(t, s, master, namespace, "a"), no, canary)
	for _, token := range []string{coreOnly, kubeapi.JWT("unknown", audience), "opaque", ""} {
		wantGet(t, get(t, s, token, namespace, "a"), http.StatusUnauthorized, canary)
	}
	forged := ask(t, proxy, harness.Request{
		Method: http.MethodGet, Path: harness.DecryptPath(namespace, "a"), Header: http.Header{"X-Remote-User": {account}},
	})
	if forged.Code == ok || len(harness.Find(forged.Body, canary)) > 0 {
		t.Errorf("the front proxy opens values: %d", forged.Code)
	}

	revoked.Store(true)
	harness.Eventually(t, "the right that was taken away counts no more", func() bool { return get(t, s, good, namespace, "a").Code == no })
	revoked.Store(false)
	harness.Eventually(t, "it counts again", func() bool { return get(t, s, good, namespace, "a").Code == ok })
	c.API.SetDown(true)
	harness.Eventually(t, "nothing is released while nobody can be asked", func() bool {
		code := get(t, s, good, namespace, "a").Code
		return code == http.StatusServiceUnavailable || code == http.StatusUnauthorized
	})
	s.Leaks(t, canary)
}
