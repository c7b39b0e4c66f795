// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

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
