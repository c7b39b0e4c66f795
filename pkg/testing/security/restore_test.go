// SPDX-License-Identifier: Apache-2.0

package security

import (
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

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
