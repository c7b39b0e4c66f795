// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"crypto/tls"
	"net/http"
	"path/filepath"
	"slices"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/certs"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

const (
	audience      = "secret.grafana.app"
	account       = "system:serviceaccount:default:k6"
	clusterAdmins = "kubeadm:cluster-admins"
)

// clusterRBAC is what kube-apiserver answers where administrators are bound to cluster-admin, and account, certified
// and callers without credentials to the role of k6-cloud.
func clusterRBAC(review authorizationv1.SubjectAccessReviewSpec) bool {
	for _, everything := range []string{"system:masters", clusterAdmins, "system:serviceaccounts:ops"} {
		if slices.Contains(review.Groups, everything) {
			return true
		}
	}
	named := review.User == account || review.User == "certified" || review.User == "system:anonymous" ||
		slices.Contains(review.Groups, "system:unauthenticated")
	return review.User == "writer" || named && review.ResourceAttributes.Namespace == namespace && kubeapi.Grants("k6-cloud", review)
}

// clusterWith is a cluster with the value "a", and tokens of everybody that a test asks as.
func clusterWith(t *testing.T, canary string, args ...string) (*harness.Cluster, *harness.Server) {
	t.Helper()
	c := harness.NewCluster(t)
	c.API.Allow(clusterRBAC)
	for token, whose := range map[string]kubeapi.Token{
		"good":             {User: account, Groups: []string{"system:serviceaccounts"}},
		"good-and-master":  {User: account, Groups: []string{"system:masters"}},
		"good-and-admin":   {User: account, Groups: []string{clusterAdmins}},
		"master":           {User: "root", Groups: []string{"system:masters"}},
		"admin":            {User: "ann", Groups: []string{clusterAdmins}},
		"admin-account":    {User: "system:serviceaccount:ops:deploy", Groups: []string{"system:serviceaccounts:ops"}},
		"kube-system":      {User: "system:serviceaccount:kube-system:default", Groups: []string{"system:serviceaccounts:kube-system"}},
		"node":             {User: "system:node:a", Groups: []string{"system:nodes"}},
		"controller":       {User: "system:kube-controller-manager"},
		"anonymous":        {User: "system:anonymous", Groups: []string{"system:unauthenticated"}},
		"unauthenticated":  {User: "eve", Groups: []string{"system:unauthenticated"}},
		"for-kubernetes":   {User: account, Audiences: []string{kubeapi.Audience}},
		"without-audience": {User: account, Silent: true},
	} {
		if whose.Audiences == nil && !whose.Silent {
			whose.Audiences = []string{audience}
		}
		c.API.SetToken(kubeapi.JWT(token, audience), whose)
	}
	s := harness.StartAggregated(t, c, args...)
	s.As(t, c.ProxyCA.Client(t, harness.FrontProxy)).Do(t, harness.Request{
		Method: http.MethodPost, Path: harness.Collection(namespace), Header: http.Header{"X-Remote-User": {"writer"}},
		Body: `{"metadata":{"name":"a"},"spec":{"description":"d","value":"` + canary + `","decrypters":["k6-cloud"]}}`,
	}).Want(t, http.StatusCreated)
	return c, s
}

// asks sends the headers and certificate of a caller, whatever CAs the server names.
type asks struct {
	token       string
	certificate tls.Certificate
	header      http.Header
	code        int
}

func (a asks) send(t *testing.T, s *harness.Server, canary string) {
	t.Helper()
	caller, token := s, a.token
	if token != "" {
		token = kubeapi.JWT(token, audience)
	}
	if a.certificate.Certificate != nil {
		caller = s.As(t, a.certificate)
	}
	wantGet(t, ask(t, caller, harness.Request{
		Method: http.MethodGet, Path: harness.DecryptPath(namespace, "a"), Token: token, Header: a.header,
	}), a.code, canary)
}

// TestAttackAdministratorsInACluster asks as everybody who administers a cluster, by every credential: only a grant by
// name to a token of the audience opens a value.
func TestAttackAdministratorsInACluster(t *testing.T) {
	const no, who = http.StatusForbidden, http.StatusUnauthorized
	canary := harness.Canary()
	c, s := clusterWith(t, canary)
	before := c.API.Count("subjectaccessreviews")
	asks{token: "good", code: ok}.send(t, s, canary)
	if n := c.API.Count("subjectaccessreviews") - before; n != 5 {
		t.Errorf("%d reviews for one value, want those of decrypt, of three decrypters and of a random one", n)
	}
	impersonate := http.Header{"Impersonate-User": {account}, "Impersonate-Group": {"system:serviceaccounts"}, "Impersonate-Uid": {"1"}}
	remote := http.Header{"X-Remote-User": {account}, "X-Remote-Group": {"system:serviceaccounts"}}
	for name, test := range map[string]asks{
		"system:masters":                      {token: "master", code: no},
		"a service in system:masters":         {token: "good-and-master", code: ok},
		"cluster-admin":                       {token: "admin", code: no},
		"cluster-admin and a grant by name":   {token: "good-and-admin", code: no},
		"an account bound to cluster-admin":   {token: "admin-account", code: no},
		"an account of kube-system":           {token: "kube-system", code: no},
		"a node":                              {token: "node", code: no},
		"a controller":                        {token: "controller", code: no},
		"the anonymous user":                  {token: "anonymous", code: no},
		"a group of the anonymous user":       {token: "unauthenticated", code: no},
		"a token for kube-apiserver":          {token: "for-kubernetes", code: who},
		"a token without an audience":         {token: "without-audience", code: who},
		"an admin who impersonates":           {token: "admin", header: impersonate, code: no},
		"a master who impersonates":           {token: "master", header: impersonate, code: no},
		"an admin with the proxy's headers":   {token: "admin", header: remote, code: no},
		"impersonation by nobody":             {header: impersonate, code: who},
		"the proxy's headers by nobody":       {header: remote, code: who},
		"a certificate of an administrator":   {certificate: c.ClientCA.Client(t, "kubernetes-admin", clusterAdmins), code: who},
		"a certificate of a master":           {certificate: c.ClientCA.Client(t, "root", "system:masters"), code: who},
		"a certificate of a node":             {certificate: c.ClientCA.Client(t, "system:node:a", "system:nodes"), code: who},
		"a certificate with an account's CN":  {certificate: c.ClientCA.Client(t, account), code: who},
		"the front proxy":                     {certificate: c.ProxyCA.Client(t, harness.FrontProxy), header: remote, code: who},
		"a certificate and a service's token": {certificate: c.ClientCA.Client(t, "ann", clusterAdmins), token: "good", code: ok},
		"the front proxy with an admin":       {certificate: c.ProxyCA.Client(t, harness.FrontProxy), header: remote, token: "admin", code: no},
	} {
		t.Run(name, func(t *testing.T) { test.send(t, s, canary) })
	}
	t.Run("a session of the API port", func(t *testing.T) {
		wantGet(t, resumed(t, s, c.ProxyCA.Client(t, harness.FrontProxy), remote), who, canary)
	})
	s.Leaks(t, canary)
}

// resumed asks the decrypt port with a TLS session that a certificate has opened on the API port.
func resumed(t *testing.T, s *harness.Server, certificate tls.Certificate, header http.Header) harness.Response {
	t.Helper()
	config := s.TLS()
	config.ServerName, config.ClientSessionCache = "127.0.0.1", tls.NewLRUClientSessionCache(1)
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
	transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: config}
	var last harness.Response
	for _, url := range []string{s.URL + "/apis", s.DecryptURL + harness.DecryptPath(namespace, "a")} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header = header
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		last = harness.Response{Code: response.StatusCode, Header: response.Header}
		if err := response.Body.Close(); err != nil {
			t.Fatal(err)
		}
		if url == s.URL+"/apis" && last.Code == http.StatusUnauthorized {
			t.Fatal("the API port does not know the certificate, so this shows nothing")
		}
	}
	return last
}

// TestServicesByCertificate gives the decrypt port of a cluster a CA for services, and any decrypter: certificates of
// that CA count as tokens do, a wildcard reads nothing here either, and certificates of the cluster stay those of
// people.
func TestServicesByCertificate(t *testing.T) {
	const no, who = http.StatusForbidden, http.StatusUnauthorized
	canary, services := harness.Canary(), certs.NewCA(t, "services")
	file := filepath.Join(t.TempDir(), "services.crt")
	harness.WriteFile(t, file, services.PEM())
	c, s := clusterWith(t, canary, "--decrypt-client-ca-file="+file, "--allowed-decrypters=*")
	for name, test := range map[string]asks{
		"a service":                       {certificate: services.Client(t, "certified"), code: ok},
		"a service in system:masters":     {certificate: services.Client(t, "certified", "system:masters"), code: ok},
		"somebody else":                   {certificate: services.Client(t, "other", "system:masters"), code: no},
		"cluster-admin":                   {certificate: services.Client(t, "ann", clusterAdmins), code: no},
		"a service that is cluster-admin": {certificate: services.Client(t, "certified", clusterAdmins), code: no},
		"a person":                        {certificate: c.ClientCA.Client(t, "certified"), code: who},
		"an administrator":                {certificate: c.ClientCA.Client(t, "ann", clusterAdmins), code: who},
		"a token":                         {token: "good", code: ok},
		"an admin's token":                {token: "admin", code: no},
	} {
		t.Run(name, func(t *testing.T) { test.send(t, s, canary) })
	}
	services = certs.NewCA(t, "services")
	harness.WriteFile(t, file, services.PEM())
	renewed := asks{certificate: services.Client(t, "certified"), code: ok}
	harness.Eventually(t, "the new CA counts", func() bool {
		return get(t, s.As(t, renewed.certificate), "", namespace, "a").Code == ok
	})
	renewed.send(t, s, canary)
	s.Leaks(t, canary)
}
