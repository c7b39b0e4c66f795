// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

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
