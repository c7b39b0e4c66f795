// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.opentelemetry.io/otel/trace"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/client"
	"github.com/securevalue/secret-apiserver/pkg/testing/collector"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/testing/kubeapi"
)

// decryptAttributes are all that a span of the decrypt port has.
var decryptAttributes = []string{
	"audit-id", "client.address", "http.response.status_code", "http.route", "secret.asked", "secret.namespace", "secret.released",
}

// TestFollowRequests finds requests to both ports by their audit ids in the log, the audit logs and the callers'
// traces.
func TestFollowRequests(t *testing.T) {
	c := collector.Start(t)
	s := start(t, c.Config(t, 0)) // what no caller traces is not traced
	canary := harness.Canary()
	decryptAudit := filepath.Join(s.DataDir, "decrypt-audit", "decrypt.log")

	create := newCaller("1")
	id := do(t, s, false, http.StatusCreated, harness.Request{
		Method: http.MethodPost, Path: harness.Collection(namespace), Token: s.AdminToken, Header: create.header(), Body: body(canary),
	})
	wantLine(t, s.LogFile, "audit-ID", id)
	wantLine(t, s.AuditFile, "auditID", id)
	wantSpan(t, c, create, id)
	c.Wait(t, "the store", within(create.trace, "Create etcd3"))

	for name, ask := range map[string]harness.Request{
		"2": {Method: http.MethodGet, Path: getPath},
		"3": {Method: http.MethodPost, Path: rpcPath, ContentType: "application/json", Body: `{"namespace":"default","names":["api-key","absent"]}`},
	} {
		from := newCaller(name)
		ask.Token, ask.Header = k6Token, from.header()
		ask.Header.Set("Audit-Id", "of-somebody-else")
		id := do(t, s, true, http.StatusOK, ask)
		for file, key := range map[string]string{s.LogFile: "audit-ID", s.AuditFile: "auditID", decryptAudit: "auditID"} {
			wantLine(t, file, key, id)
		}
		span := wantSpan(t, c, from, id)
		if span.Attributes["secret.namespace"] != namespace || span.Attributes["secret.released"] != "1" {
			t.Errorf("the span says %v", span.Attributes)
		}
		if keys := slices.Sorted(maps.Keys(span.Attributes)); !slices.Equal(keys, decryptAttributes) {
			t.Errorf("docs/tracing.md lists %v, the span has %v", decryptAttributes, keys)
		}
		for _, stage := range []string{"authorize", "read from etcd", "open", "write audit records"} {
			if got := c.Wait(t, stage, within(from.trace, stage)); got.Parent != span.ID {
				t.Errorf("%q is not part of the request: parent %q, want %q", stage, got.Parent, span.ID)
			}
		}
	}
	wantNoStranger(t, c, s)
	s.Stop(t)
	wantJSON(t, s)
	s.Leaks(t, canary)
	if found := harness.Find(harness.ReadFile(t, c.File), canary); len(found) > 0 {
		t.Errorf("the spans hold %q", found)
	}
}

// wantSpan asks that the span of a request is part of its caller's trace.
func wantSpan(t *testing.T, c *collector.Collector, from caller, id string) collector.Span {
	t.Helper()
	span := c.Wait(t, id, of(id))
	if span.Trace != from.trace || span.Parent != from.span || span.Service != "secret-apiserver" {
		t.Errorf("got %+v, want a child of %+v", span, from)
	}
	return span
}

// wantNoStranger: who brings no credentials cannot have itself traced. The request after it is, and spans come in their
// order.
func wantNoStranger(t *testing.T, c *collector.Collector, s *harness.Server) {
	t.Helper()
	stranger, after := newCaller("4"), newCaller("5")
	do(t, s, true, http.StatusUnauthorized, harness.Request{Method: http.MethodGet, Path: getPath, Header: stranger.header()})
	do(t, s, false, http.StatusUnauthorized, harness.Request{
		Method: http.MethodGet, Path: harness.Collection(namespace), Token: "none", Header: stranger.header(),
	})
	wantSpan(t, c, after, do(t, s, true, http.StatusOK, harness.Request{Method: http.MethodGet, Path: getPath, Token: k6Token, Header: after.header()}))
	if slices.ContainsFunc(c.Spans(), func(span collector.Span) bool { return span.Trace == stranger.trace }) {
		t.Error("a request without credentials was traced")
	}
}

// TestClientContinues: a span in the context of the Go client's caller is the parent of the server's.
func TestClientContinues(t *testing.T) {
	c := collector.Start(t)
	s := start(t, c.Config(t, 0))
	canary := harness.Canary()
	do(t, s, false, http.StatusCreated, harness.Request{Method: http.MethodPost, Path: harness.Collection(namespace), Token: s.AdminToken, Body: body(canary)})
	token := filepath.Join(t.TempDir(), "token")
	harness.WriteFile(t, token, k6Token)
	k6, err := client.New(client.Config{URL: s.DecryptURL, CAFile: s.CAFile, TokenFile: token})
	if err != nil {
		t.Fatal(err)
	}
	defer k6.Close()
	from := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	value, err := k6.GetOne(trace.ContextWithSpanContext(t.Context(), from), namespace, "api-key")
	if err != nil || value.Expose() != canary {
		t.Fatalf("not opened: %v", err)
	}
	span := c.Wait(t, "the call", within(from.TraceID().String(), "decrypt "))
	if span.Parent != from.SpanID().String() {
		t.Errorf("got %+v, want a child of %s", span, from.SpanID())
	}
}

// TestOrdinaryUsersGetTheirOwnTrace: as in every API server, only system:masters and system:monitoring continue theirs
// on the API port. The trace of everybody else refers to it.
func TestOrdinaryUsersGetTheirOwnTrace(t *testing.T) {
	c := collector.Start(t)
	s := start(t, c.Config(t, 1_000_000))
	from := newCaller("6")
	id := do(t, s, false, http.StatusForbidden, harness.Request{
		Method: http.MethodGet, Path: harness.Collection(namespace), Token: k6Token, Header: from.header(),
	})
	if span := c.Wait(t, id, of(id)); span.Trace == from.trace || !slices.Contains(span.Links, from.trace) {
		t.Errorf("got %+v, want a separate trace with a link to %+v", span, from)
	}
}

// TestCollectorAway: without a collector everything works but the sending, and the log says so, in JSON as everything
// else.
func TestCollectorAway(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tracing.yaml")
	harness.WriteFile(t, file, "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: 127.0.0.1:1\nsamplingRatePerMillion: 1000000\n")
	s := start(t, file)
	id := do(t, s, false, http.StatusCreated, harness.Request{Method: http.MethodPost, Path: harness.Collection(namespace), Token: s.AdminToken, Body: body(harness.Canary())})
	wantLine(t, s.LogFile, "audit-ID", id)
	do(t, s, true, http.StatusOK, harness.Request{Method: http.MethodGet, Path: getPath, Token: k6Token})
	wantLine(t, s.LogFile, "msg", "Could not send spans")
	s.Stop(t)
	wantJSON(t, s)
}

// TestRefusedStartInJSON: the last line of a program is read by what reads the lines before it.
func TestRefusedStartInJSON(t *testing.T) {
	out, _ := harness.Fail(t, "--standalone", "--data-dir="+t.TempDir(), "--logging-format=json", "--tracing-config-file=none.yaml")
	var entry struct {
		TS       float64
		Msg, Err string
	}
	if err := json.Unmarshal([]byte(out), &entry); err != nil || entry.TS == 0 || entry.Msg == "" || !strings.Contains(entry.Err, "--tracing-config-file") {
		t.Errorf("got %s: %v", out, err)
	}
}

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

// TestControllerManager: what the controllers ask of the server is in one trace with how the server answers.
func TestControllerManager(t *testing.T) {
	c := collector.Start(t)
	config := c.Config(t, 1_000_000)
	s := start(t, config)
	manager := exec.CommandContext(t.Context(), harness.ControllerManagerBinary(t), "--kubeconfig="+s.Kubeconfig, "--leader-elect=false",
		"--metrics-bind-address=0", "--health-probe-bind-address=0", "--logging-format=json", "--tracing-config-file="+config)
	var log bytes.Buffer
	manager.Stderr = &log
	if err := manager.Start(); err != nil {
		t.Fatal(err)
	}
	asked := c.Wait(t, "the controllers", func(span collector.Span) bool {
		return span.Service == "secret-controller-manager" && strings.Contains(span.Attributes["url.full"], "/apis/secret.grafana.app/v1beta1")
	})
	c.Wait(t, "the server", func(span collector.Span) bool { return span.Service == "secret-apiserver" && span.Parent == asked.ID })
	if err := manager.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := manager.Wait(); err != nil {
		t.Errorf("the controller manager ended with %v", err)
	}
	wantJSONLines(t, log.String())
}
