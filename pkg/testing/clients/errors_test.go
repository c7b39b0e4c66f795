// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// testErrors makes the mistakes that put a value where an error message would quote it.
func testErrors(t *testing.T, s *suite) {
	t.Helper()
	p := s.person(t)
	p.create(manifest{name: "x"})
	p.must(manifest{name: "x", value: s.secret()}.String(), "replace", "--save-config", "-f", "-")
	typo := func(m manifest) string { return strings.Replace(m.String(), `"value":`, `"vlaue":`, 1) }
	number := func(m manifest) string {
		return strings.Replace(m.String(), `"value":"`+m.value+`"`, `"value":["`+m.value+`"]`, 1)
	}
	for _, test := range []struct {
		name  string
		stdin func(manifest) string
		args  []string
		want  []string
	}{
		{"create with a typo", typo, []string{"create", "--validate=strict", "-f", "-"},
			[]string{`unknown field "spec.vlaue"`}},
		{"create with a typo, seen by the server only", typo, []string{"create", "--validate=ignore", "-f", "-"},
			[]string{"spec.value: Required value"}},
		{"create with a list", number, []string{"create", "--validate=ignore", "-f", "-"}, []string{"spec.value"}},
		{"replace with a typo", typo, []string{"replace", "--validate=strict", "-f", "-"},
			[]string{`unknown field "spec.vlaue"`}},
		{"server-side apply with a typo", typo, []string{"apply", "--server-side", "--validate=strict", "-f", "-"},
			[]string{"vlaue"}},
		{"server-side apply with a list", number, []string{"apply", "--server-side", "--validate=ignore", "-f", "-"},
			[]string{"spec.value"}},
		{"diff with a typo", typo, []string{"diff", "--server-side", "-f", "-"}, []string{"vlaue"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			contains(t, p.in(t).refused(test.stdin(manifest{name: "x", value: s.secret()}), test.args...), test.want...)
		})
	}
	t.Run("patch", func(t *testing.T) { testPatchErrors(p.in(t)) })
	t.Run("client-side apply", func(t *testing.T) { testApplyErrors(p.in(t)) })
	equal(t, "status.version after all refusals", p.version(), "2")
}

func testPatchErrors(p *person) {
	for _, test := range []struct{ kind, patch, want string }{
		{"merge", `{"spec":{"vlaue":"%"}}`, "vlaue"},
		{"strategic", `{"spec":{"vlaue":"%"}}`, "vlaue"},
		{"json", `[{"op":"add","path":"/spec/vlaue","value":"%"}]`, "vlaue"},
		{"merge", `{"spec":{"value":["%"]}}`, "spec.value"},
		{"strategic", `{"spec":{"value":["%"]}}`, "spec.value"},
		{"json", `[{"op":"add","path":"/spec/value","value":["%"]}]`, "spec.value"},
		{"json", `[{"op":"test","path":"/spec/description","value":"%"}]`, "patch"},
		{"merge", `{"spec":{"value":"%","description":""}}`, "spec.description"},
	} {
		patch := strings.ReplaceAll(test.patch, "%", p.suite.secret())
		a := p.kubectl("", "patch", "sv", "x", "--type="+test.kind, "-p", patch)
		contains(p.t, a.errs, test.want)
		if a.code == 0 && !strings.Contains(a.errs, "Warning: ") {
			p.t.Errorf("%s patch %s: want a refusal or a warning, got %+v", test.kind, test.patch, a)
		}
	}
}

// testApplyErrors looks at what kubectl adds to a refused patch. It repeats its own patch on the terminal that the
// manifest came from; what the server answered comes after it and has to be clean.
func testApplyErrors(p *person) {
	m := manifest{name: "x", value: p.suite.secret()}
	for _, test := range []struct{ name, from, to, want string }{
		{"typo", `"value":`, `"vlaue":`, "vlaue"},
		{"list", `"value":"` + m.value + `"`, `"value":["` + m.value + `"]`, "spec.value"},
		{"description", `"made by a test"`, `"a description of more than 25 characters"`, "spec.description"},
	} {
		for _, validate := range []string{"strict", "ignore"} {
			a := p.unchecked(strings.Replace(m.String(), test.from, test.to, 1), "apply", "--validate="+validate, "-f",
				"-")
			said := a.errs
			if _, after, ok := strings.Cut(a.errs, `for: "STDIN": `); ok {
				said = after
			}
			p.suite.clean(p.t, "what the server answered to an apply with a wrong "+test.name, a.out+said)
			if test.name == "typo" && validate == "ignore" {
				equal(p.t, "an ignored typo", a.errs, "")
				continue
			}
			contains(p.t, said, test.want)
			if a.code == 0 {
				p.t.Errorf("apply with a wrong %s: want a refusal, got %+v", test.name, a)
			}
		}
	}
}

// TestAuditPolicy runs a server with the policy that config/audit ships: one record for each request about a secure
// value, none for probes and rights, no body.
func TestAuditPolicy(t *testing.T) {
	policy := filepath.Join(harness.Root(t), "config", "audit", "policy.yaml")
	// whose watch is recorded too
	s := harness.Start(t, harness.Options{Args: []string{"--audit-policy-file=" + policy, "--rewrap=false"}})
	value := harness.Canary()
	for _, r := range []harness.Request{
		{Method: http.MethodPost, Path: harness.Collection("default"),
			Body: manifest{name: "x", value: value}.String()},
		{Method: http.MethodGet, Path: harness.Collection("default") + "/absent"},
		{Method: http.MethodGet, Path: "/metrics"},
		{Method: http.MethodGet, Path: "/livez"},
		{Method: http.MethodPost, Path: "/apis/authentication.k8s.io/v1/selfsubjectreviews",
			Body: `{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1"}`},
		{Method: http.MethodDelete, Path: harness.Collection("default") + "/x"},
	} {
		r.Token = s.AdminToken
		if response := s.Do(t, r); response.Code/100 != 2 && response.Code != http.StatusNotFound {
			t.Fatalf("%s %s: %d %s", r.Method, r.Path, response.Code, response.Body)
		}
	}
	s.Stop(t)
	want := []string{"create x Metadata 201 admin", "get absent Metadata 404 admin", "delete x Metadata 200 admin"}
	// At start, for deleted values that wait for a garbage collector, before or after the first request.
	atStart := func(record string) bool { return record == "list  Metadata 200 system:apiserver" }
	got := slices.DeleteFunc(records(t, harness.ReadFile(t, s.AuditFile)), atStart)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	s.Leaks(t, value)
}

// records name the finished requests of an audit log.
func records(t *testing.T, log []byte) []string {
	t.Helper()
	var all []string
	for line := range bytes.Lines(log) {
		var event auditv1.Event
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatalf("audit record %q: %v", line, err)
		}
		if event.RequestObject != nil || event.ResponseObject != nil || event.Stage != auditv1.StageResponseComplete {
			t.Errorf("audit record %s", line)
		}
		if event.ObjectRef == nil {
			continue // discovery by the server itself
		}
		all = append(all, event.Verb+" "+event.ObjectRef.Name+" "+string(event.Level)+" "+
			strconv.Itoa(int(event.ResponseStatus.Code))+" "+event.User.Username)
	}
	return all
}
