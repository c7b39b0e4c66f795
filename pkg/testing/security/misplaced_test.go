// SPDX-License-Identifier: Apache-2.0

package security

import (
	"bytes"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestRecordCopiedInEtcd: somebody who can write to etcd copies the record of a over that of b. No port serves it as b,
// callers are told what it is, and a delete cleans up.
func TestRecordCopiedInEtcd(t *testing.T) {
	db := harness.Etcd(t, t.TempDir())
	s := start(t, harness.EtcdServers(db))
	canary := harness.Canary()
	for _, name := range []string{"a", "b", "c", "d"} {
		s.Create(t, "default", name, canary, "k6-cloud")
	}
	const root = "/registry/secret.grafana.app/secret.grafana.app/securevalues/default/"
	record, err := db.Client().Get(t.Context(), root+"a")
	if err != nil || len(record.Kvs) != 1 {
		t.Fatalf("%v, %v", record, err)
	}
	plant := func(name, record string) {
		t.Helper()
		if _, err := db.Client().Put(t.Context(), root+name, record); err != nil {
			t.Fatal(err)
		}
	}
	plant("b", string(record.Kvs[0].Value))
	plant("c", string(record.Kvs[0].Value))

	ask := func(method, path, contentType, body string) harness.Response {
		t.Helper()
		got := s.Do(t, harness.Request{
			Method: method, Path: harness.Collection("default") + path, Token: s.AdminToken, ContentType: contentType,
			Body: body,
		})
		clean(t, method+" "+path, got, canary)
		if strings.Contains(string(got.Body), "StorageError") || strings.Contains(string(got.Body), "/registry/") {
			t.Errorf("%s %s quotes the storage: %s", method, path, got.Body)
		}
		return got
	}
	wantStatus := func(what string, got harness.Response, code int, text string) {
		t.Helper()
		if got.Code != code || !strings.Contains(string(got.Body), text) {
			t.Errorf("%s: %d %s, want %d and %q", what, got.Code, got.Body, code, text)
		}
	}
	const misplaced = `securevalue \"b\": etcd holds the record of another object in its place: restore its record ` +
		`from a backup, or delete it`
	edit := strings.Replace(harness.Object(t, "b", canary, "k6-cloud"), `"name"`, `"resourceVersion":"1","name"`, 1)
	for _, request := range [][4]string{
		{http.MethodGet, "/b"}, {http.MethodGet, "/b?resourceVersion=0"},
		{http.MethodPut, "/b", jsonType, harness.Object(t, "b", canary, "k6-cloud")}, {http.MethodPut, "/b", jsonType, edit},
		{http.MethodPut, "/b?dryRun=All", jsonType, harness.Object(t, "b", canary, "k6-cloud")},
		{http.MethodPatch, "/b", mergeType, `{"metadata":{"labels":{"x":"y"}}}`},
		{http.MethodPatch, "/b?dryRun=All", mergeType, `{"metadata":{"labels":{"x":"y"}}}`},
		{http.MethodPost, "/b/rewrap", jsonType, "{}"}, {http.MethodPost, "/b/rewrap?dryRun=All", jsonType, "{}"},
	} {
		wantStatus(request[0]+" "+request[1], ask(request[0], request[1], request[2], request[3]),
			http.StatusInternalServerError, misplaced)
	}
	for _, query := range []string{"", "?resourceVersion=0", "?limit=500", "?labelSelector=",
		"?fieldSelector=spec.decrypter%3Dk6-cloud"} {
		got := ask(http.MethodGet, query, "", "")
		if items, _ := got.Object(t)["items"].([]any); got.Code != http.StatusOK || len(items) != 2 {
			t.Errorf("LIST %q: %d, %d objects of a and d", query, got.Code, len(items))
		}
	}
	if _, code := open(t, s, "b"); code != http.StatusNotFound { // which callers it has cannot be known
		t.Errorf("the decrypt port answers %d", code)
	}
	if value, code := open(t, s, "a"); value != canary {
		t.Errorf("a opens no more: %d", code)
	}
	if !strings.Contains(s.Log(t), `securevalue="default/b"`) {
		t.Error("the log does not name the object that was left out")
	}

	wantStatus("the report on keys", report(t, db), 1,
		"default/b: etcd holds the record of another object in its place")
	wantStatus("DELETE that expects damage", ask(http.MethodDelete,
		"/b?ignoreStoreReadErrorWithClusterBreakingPotential=true", "", ""),
		http.StatusConflict, "its record is readable; delete it without "+
			"ignoreStoreReadErrorWithClusterBreakingPotential")
	wantStatus("DELETE, dry run", ask(http.MethodDelete, "/b?dryRun=All", "", ""), http.StatusOK, "Success")
	wantStatus("DELETE", ask(http.MethodDelete, "/b", "", ""), http.StatusOK, "Success")
	wantStatus("GET after it", ask(http.MethodGet, "/b", "", ""), http.StatusNotFound, "not found")
	s.Create(t, "default", "b", canary, "k6-cloud")
	if value, code := open(t, s, "b"); value != canary {
		t.Errorf("b after its return: %d", code)
	}

	// What cannot be decoded fails lists as before, by a constant text, and goes by the delete that expects it.
	plant("d", "garbage")
	const unreadable = `the record of securevalue \"d\" was changed, or written by a newer version of the server`
	wantStatus("GET of garbage", ask(http.MethodGet, "/d", "", ""), http.StatusInternalServerError, unreadable)
	var listed harness.Response
	for listed.Code != http.StatusInternalServerError && t.Context().Err() == nil { // the watch cache hears of it first
		listed = ask(http.MethodGet, "", "", "")
	}
	wantStatus("LIST with garbage", listed, http.StatusInternalServerError, "a stored record was changed")
	wantStatus("PATCH of garbage", ask(http.MethodPatch, "/d", mergeType, `{"metadata":{"labels":{"x":"y"}}}`),
		http.StatusInternalServerError, unreadable)
	wantStatus("DELETE of garbage", ask(http.MethodDelete, "/d", "", ""), http.StatusInternalServerError, unreadable)
	wantStatus("DELETE that expects it", ask(http.MethodDelete,
		"/d?ignoreStoreReadErrorWithClusterBreakingPotential=true", "", ""), http.StatusOK, "")
	wantStatus("deletecollection", ask(http.MethodDelete, "", "", ""), http.StatusOK, `"name":"c"`)
	if left, err := db.Client().Get(t.Context(), root+"c"); err != nil || len(left.Kvs) != 0 {
		t.Errorf("deletecollection left c: %v", err)
	}
	s.Leaks(t, canary)
}

// TestDryRunAnswersAsTheRequestWould: of a value whose ciphertext was changed in etcd, a rewrap and a decrypter taken
// away are 500, and so are their dry runs. The answer about a rewrap still names the write key.
func TestDryRunAnswersAsTheRequestWould(t *testing.T) {
	db := harness.Etcd(t, t.TempDir())
	options := access(harness.EtcdServers(db), "--rewrap=false")
	s := harness.Start(t, options)
	canary := harness.Canary()
	s.Create(t, "default", "a", canary, "k6-cloud")
	s.Create(t, "default", "b", canary, "k6-cloud")
	s.Stop(t)
	options.DataDir = s.DataDir
	s = harness.Start(t, options)
	s.Rotate(t, "fresh")
	const key = "/registry/secret.grafana.app/secret.grafana.app/securevalues/default/a"
	stored := func() []byte {
		t.Helper()
		got, err := db.Client().Get(t.Context(), key)
		if err != nil || len(got.Kvs) != 1 {
			t.Fatalf("%v, %v", got, err)
		}
		return got.Kvs[0].Value
	}
	changed := stored()
	changed[len(changed)-1] ^= 1
	if _, err := db.Client().Put(t.Context(), key, string(changed)); err != nil {
		t.Fatal(err)
	}
	for name, code := range map[string]int{"a": http.StatusInternalServerError, "b": http.StatusOK} {
		for _, query := range []string{"?dryRun=All", ""} {
			got := s.Do(t, harness.Request{
				Method: http.MethodPatch, Path: harness.Collection("default") + "/" + name + query, Token: s.AdminToken,
				ContentType: mergeType, Body: `{"spec":{"decrypters":[]}}`,
			})
			if got.Code != code {
				t.Errorf("PATCH %s%s: %d %s", name, query, got.Code, got.Body)
			}
			if name == "b" { // a decrypter taken away sealed it again
				continue
			}
			got = s.Do(t, harness.Request{
				Method: http.MethodPost, Path: harness.Collection("default") + "/" + name + "/rewrap" + query,
				Token: s.AdminToken,
			})
			status := got.Status(t)
			if got.Code != code || len(status.Details.Causes) != 2 ||
				status.Details.Causes[1].Message != "aesgcm/fresh" {
				t.Errorf("rewrap of %s%s: %d %s", name, query, got.Code, got.Body)
			}
		}
	}
	if !bytes.Equal(stored(), changed) {
		t.Error("something wrote the record")
	}
	s.Leaks(t, canary)
}

// report is what the report on keys says of a database, its exit code as the code.
func report(t *testing.T, db *etcd.Server) harness.Response {
	t.Helper()
	stdout, stderr, code := harness.Tool(t, "keys", "report", harness.EtcdServers(db))
	return harness.Response{Code: code, Body: []byte(stdout + stderr)}
}

// TestIncident23AnOlderRecordShowsInTheAudit: who can write to etcd can put a whole older record back (OpenBao counts
// it as out of scope). The record opens, for it is sound; the decrypt audit log then holds a version lower than one
// before for the same uid, as docs/decrypt-audit.md says.
func TestIncident23AnOlderRecordShowsInTheAudit(t *testing.T) {
	db := harness.Etcd(t, t.TempDir())
	s := start(t, harness.EtcdServers(db))
	s.Create(t, "default", "a", "old", "k6-cloud")
	records, err := db.Client().Get(t.Context(), "/registry/secret.grafana.app/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	older := record(t, records)
	s.Do(t, harness.Request{
		Method: http.MethodPatch, Path: harness.Collection("default") + "/a", Token: s.AdminToken,
		ContentType: mergeType, Body: `{"spec":{"value":"new"}}`,
	}).Want(t, http.StatusOK)
	if value, code := open(t, s, "a"); value != "new" {
		t.Fatalf("%d %s", code, value)
	}
	if _, err := db.Client().Put(t.Context(), string(older.key), string(older.value)); err != nil {
		t.Fatal(err)
	}
	if value, code := open(t, s, "a"); value != "old" {
		t.Errorf("%d %q: the security model says that an older record opens", code, value)
	}
	var versions []int
	uids := map[string]bool{}
	for line := range strings.Lines(string(harness.ReadFile(t,
		filepath.Join(s.DataDir, "decrypt-audit", "decrypt.log")))) {
		var entry struct {
			Kind, UID string
			Version   int
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		if entry.Kind == "decrypt" {
			versions, uids[entry.UID] = append(versions, entry.Version), true
		}
	}
	if diff := cmp.Diff([]int{2, 1}, versions); diff != "" || len(uids) != 1 {
		t.Errorf("the versions in the decrypt audit log (-want +got):\n%s", diff)
	}
}

type rawRecord struct{ key, value []byte }

// record is the one object among what is stored.
func record(t *testing.T, records *clientv3.GetResponse) rawRecord {
	t.Helper()
	for _, kv := range records.Kvs {
		if strings.HasSuffix(string(kv.Key), "/default/a") {
			return rawRecord{kv.Key, kv.Value}
		}
	}
	t.Fatalf("no record among %d", len(records.Kvs))
	return rawRecord{}
}
