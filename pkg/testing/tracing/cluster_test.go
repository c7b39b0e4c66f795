// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"net/http"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/collector"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

// TestFollowInACluster finds what a server in a cluster asks of others, etcd and kube-apiserver, in the callers'
// traces.
func TestFollowInACluster(t *testing.T) {
	c, spans := harness.NewCluster(t), collector.Start(t)
	c.API.Allow(func(review authorizationv1.SubjectAccessReviewSpec) bool {
		return review.User == "admin" || review.User == "k6" && kubeapi.Grants("k6-cloud", review)
	})
	token := kubeapi.JWT("k6", "secret.grafana.app")
	c.API.SetToken(token, kubeapi.Token{User: "k6", Audiences: []string{"secret.grafana.app"}})
	s := harness.StartAggregated(t, c, "--logging-format=json", "--tracing-config-file="+spans.Config(t, 0))
	canary := harness.Canary()

	create := newCaller("1")
	header := create.header()
	header.Set("X-Remote-User", "admin")
	header.Set("X-Remote-Group", "system:masters")
	id := do(t, s.As(t, c.ProxyCA.Client(t, harness.FrontProxy)), false, http.StatusCreated, harness.Request{
		Method: http.MethodPost, Path: harness.Collection(namespace), Header: header, Body: body(canary),
	})
	wantLine(t, s.LogFile, "audit-ID", id)
	wantLine(t, s.AuditFile, "auditID", id)
	wantSpan(t, spans, create, id)
	spans.Wait(t, "etcd", within(create.trace, "etcdserverpb.KV/Txn"))

	decrypt := newCaller("2")
	id = do(t, s, true, http.StatusOK, harness.Request{Method: http.MethodGet, Path: getPath, Token: token, Header: decrypt.header()})
	wantLine(t, s.LogFile, "audit-ID", id)
	wantLine(t, s.AuditFile, "auditID", id)
	wantSpan(t, spans, decrypt, id)
	spans.Wait(t, "the review of rights", within(decrypt.trace, "/apis/authorization.k8s.io/v1/subjectaccessreviews"))

	s.Stop(t)
	wantJSON(t, s)
	s.Leaks(t, canary)
	if found := harness.Find(harness.ReadFile(t, spans.File), canary); len(found) > 0 {
		t.Errorf("the spans hold %q", found)
	}
}
