// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestRecorded asks that each name of each request is in the decrypt audit log, and that the request is in the ordinary
// one under the same id, which no caller can choose.
func TestRecorded(t *testing.T) {
	s := start(t)
	s.Create(t, namespace, "a", "value", "k6-cloud")
	s.Create(t, namespace, "b", "value", "synthetic-monitoring")
	got := ask(t, s, harness.Request{
		Method: http.MethodPost, Path: rpcPath, Token: k6Token, ContentType: "application/json",
		Body: `{"namespace":"default","names":["a","b","c"]}`, Header: http.Header{"Audit-Id": {"chosen-by-the-caller"}},
	})
	id := got.Header.Get("Audit-Id")
	if got.Code != ok || id == "" || id == "chosen-by-the-caller" {
		t.Fatalf("%d, audit id %q", got.Code, id)
	}
	log := harness.ReadFile(t, filepath.Join(s.DataDir, "decrypt-audit", "decrypt.log"))
	if !bytes.Contains(log, []byte(`"instance":"standalone"`)) {
		t.Error("the chain has a name that changes with the host")
	}
	type record struct{ AuditID, User, Source, Namespace, Name, Decrypter, Decision, Reason string }
	found := map[string]record{}
	for line := range strings.Lines(string(log)) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if r.AuditID == id {
			found[r.Name] = r
		}
	}
	for name, want := range map[string]record{
		"a": {id, "k6", "127.0.0.1", namespace, "a", "k6-cloud", "allow", "granted"},
		"b": {id, "k6", "127.0.0.1", namespace, "b", "", "deny", "not-listed"},
		"c": {id, "k6", "127.0.0.1", namespace, "c", "", "deny", "absent"},
	} {
		if found[name] != want {
			t.Errorf("%+v, want %+v", found[name], want)
		}
	}
	harness.Eventually(t, "the request is in the ordinary audit log", func() bool {
		return strings.Contains(string(harness.ReadFile(t, s.AuditFile)), id)
	})
	if n := s.Metric(t, `secret_decrypt_values_total{decision="allow",decrypter="k6-cloud",reason="granted"}`); n != 1 {
		t.Errorf("the metric counts %v", n)
	}
}

// perRequest are the headers that differ from request to request whatever is asked for.
var perRequest = []string{"Audit-Id", "Date", "X-Secret-Revision"}

// fingerprint is everything that a caller can see of an answer, but for time.
func fingerprint(r harness.Response, name string) string {
	var b strings.Builder
	for _, header := range slices.Sorted(maps.Keys(r.Header)) {
		values := r.Header[header]
		if slices.Contains(perRequest, header) {
			values = []string{"..."}
		}
		b.WriteString(header + ": " + strings.Join(values, ", ") + "\n")
	}
	b.Write(bytes.ReplaceAll(r.Body, []byte(name), []byte("NAME")))
	return b.String()
}

// TestIncident12WhichNamesExist compares what a caller with the right to decrypt sees of a value that is not for it
// with what it sees of one that is not there, by every way to ask. A caller without that right sees no difference
// either.
func TestIncident12WhichNamesExist(t *testing.T) {
	s := harness.Start(t, harness.Options{Tokens: []string{harness.Token("token-of-nobody", "nobody")}}.WithK6(namespace))
	canary := harness.Canary()
	s.Create(t, namespace, "there", canary+strings.Repeat("x", 20000), "synthetic-monitoring")
	s.Create(t, namespace, "empty", canary)
	s.Create(t, "elsewhere", "there", canary, "k6-cloud")
	ways := map[string]func(token, namespace, name string) harness.Response{
		"GET":     func(token, ns, name string) harness.Response { return get(t, s, token, ns, name) },
		"Connect": func(token, ns, name string) harness.Response { return connectJSON(t, s, token, ns, name) },
		"gRPC": func(token, ns, name string) harness.Response {
			return ask(t, s, harness.Request{
				Method: http.MethodPost, Path: rpcPath, Token: token, ContentType: "application/grpc+json",
				Body: grpcFrame(`{"namespace":"` + ns + `","names":["` + name + `"]}`),
			})
		},
	}
	for way, ask := range ways {
		for _, token := range []string{k6Token, "token-of-nobody"} {
			absent := fingerprint(ask(token, namespace, "gones"), "gones")
			for _, name := range []string{"there", "empty"} {
				if diff := cmp.Diff(absent, fingerprint(ask(token, namespace, name), name)); diff != "" {
					t.Errorf("%s: %s shows that %s exists:\n%s", way, token, name, diff)
				}
			}
			gone := fingerprint(ask(token, "elsewhere", "gones"), "gones")
			if diff := cmp.Diff(gone, fingerprint(ask(token, "elsewhere", "there"), "there")); diff != "" {
				t.Errorf("%s: %s shows that a value of another namespace exists:\n%s", way, token, diff)
			}
		}
	}
	s.Leaks(t, canary)
}

// grpcFrame is one uncompressed message of gRPC.
func grpcFrame(message string) string {
	return string([]byte{0, 0, 0, byte(len(message) >> 8), byte(len(message))}) + message
}

// TestDeletedValueDoesNotOpen: an object that waits for its finalizers is deleted for services, by either protocol,
// whether its ciphertext is gone or an older version of the server left it.
func TestDeletedValueDoesNotOpen(t *testing.T) {
	s := start(t)
	canaries := []string{harness.Canary(), harness.Canary()}
	s.Create(t, namespace, "a", canaries[0], "k6-cloud")
	s.Create(t, namespace, "b", canaries[1], "k6-cloud")
	get(t, s, k6Token, namespace, "a").Want(t, ok)
	hold(t, s, "a", `["example.com/hold"]`)
	s.Do(t, harness.Request{Method: http.MethodDelete, Path: harness.Collection(namespace) + "/a", Token: s.AdminToken}).Want(t, ok)
	wantDeleted(t, s, "a")
	s.Stop(t)
	if opened := harness.OpenAll(t, s.DataDir); len(opened) != 1 || opened[namespace+"/b"] != canaries[1] {
		t.Errorf("%d values are left, want b alone", len(opened))
	}

	// An older server left b deleted, with its ciphertext.
	harness.EditAll(t, s.DataDir, func(sv *secret.SecureValue) {
		now := metav1.Now()
		sv.Finalizers, sv.DeletionTimestamp, sv.DeletionGracePeriodSeconds = []string{"example.com/hold"}, &now, new(int64)
	})
	second := harness.Start(t, harness.Options{DataDir: s.DataDir}.WithK6(namespace))
	wantDeleted(t, second, "b")
	hold(t, second, "b", "null")
	second.Create(t, namespace, "b", canaries[0], "k6-cloud")
	if got := get(t, second, k6Token, namespace, "b"); got.Code != ok {
		t.Errorf("a new object under the name: %d %s", got.Code, got.Body)
	}
	second.Stop(t)
	second.Leaks(t, canaries...)
}

// hold sets the finalizers of a value, given as JSON.
func hold(t *testing.T, s *harness.Server, name, finalizers string) {
	t.Helper()
	s.Do(t, harness.Request{
		Method: http.MethodPatch, Path: harness.Collection(namespace) + "/" + name, Token: s.AdminToken,
		ContentType: "application/merge-patch+json", Body: `{"metadata":{"finalizers":` + finalizers + `}}`,
	}).Want(t, ok)
}

// wantDeleted asks for a deleted value, and looks at what was recorded.
func wantDeleted(t *testing.T, s *harness.Server, name string) {
	t.Helper()
	got := get(t, s, k6Token, namespace, name)
	if got.Code != http.StatusNotFound || got.Status(t).Message != "not found" {
		t.Errorf("GET of %s: %d %s, want not found", name, got.Code, got.Body)
	}
	if got := results(t, connectJSON(t, s, k6Token, namespace, name)); got[name] != "!not found" {
		t.Errorf("RPC of %s: %q, want not found", name, got[name])
	}
	recorded := 0
	for line := range strings.Lines(string(harness.ReadFile(t, filepath.Join(s.DataDir, "decrypt-audit", "decrypt.log")))) {
		var record struct{ Name, UID, Decision, Reason string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if record.Name == name && record.Decision == "deny" && record.Reason == "deleted" && record.UID != "" {
			recorded++
		}
	}
	if recorded != 2 {
		t.Errorf("%d records say that %s is deleted, want 2", recorded, name)
	}
	if n := s.Metric(t, `secret_decrypt_values_total{decision="deny",decrypter="",reason="deleted"}`); n != 2 {
		t.Errorf("the metric counts %v", n)
	}
}
