// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

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
	want := []string{
		"list  Metadata 200 system:apiserver", // at start, for deleted values that wait for a garbage collector
		"create x Metadata 201 admin", "get absent Metadata 404 admin", "delete x Metadata 200 admin",
	}
	if diff := cmp.Diff(want, records(t, harness.ReadFile(t, s.AuditFile))); diff != "" {
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
