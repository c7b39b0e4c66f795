// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
	"github.com/securevalue/secret-apiserver/pkg/tools/keys"
)

// containsBoth looks for both texts in one line.
func containsBoth(text, one, other string) bool {
	for line := range strings.Lines(text) {
		if strings.Contains(line, one) && strings.Contains(line, other) {
			return true
		}
	}
	return false
}

func report(t *testing.T, args ...string) (found keys.Report, stderr string, code int) {
	t.Helper()
	stdout, stderr, code := harness.Tool(t, append([]string{"keys", "report", "--output=json"}, args...)...)
	if err := json.Unmarshal([]byte(stdout), &found); err != nil {
		t.Fatalf("no report: %v\n%s%s", err, stdout, stderr)
	}
	return found, stderr, code
}

// The report is the same of a running server and of its folder when it is stopped, whatever the path of the folder is.
func TestReportOfRunningAndStoppedServer(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{"plain": "data", "no place for a socket": "my data, " + strings.Repeat("d", 100)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.Start(t, harness.Options{DataDir: filepath.Join(t.TempDir(), dir), Args: []string{"--rewrap=false"}})
			values := s.Values(t, "", namespace)
			stored := create(t, values, "old", 3)
			s.Rotate(t, "fresh")
			canary := harness.Canary()
			if _, err := values.Create(t.Context(), harness.NewValue("new", canary), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			running, _, code := report(t, "--data-dir="+s.DataDir)
			if code != 0 || running.Values != 4 || len(running.Keys) != 2 {
				t.Errorf("running: code %d, %+v", code, running)
			}
			table, stderr, code := harness.Tool(t, "keys", "report", "--data-dir="+s.DataDir)
			if code != 0 || stderr != "" || !strings.HasPrefix(table, "PROVIDER   KEY") || !strings.Contains(table, "aesgcm     fresh") {
				t.Errorf("code %d\n%s%s", code, table, stderr)
			}
			for _, value := range stored {
				if found := harness.Find([]byte(table), value, canary); len(found) > 0 {
					t.Errorf("the report holds %v", found)
				}
			}
			s.Stop(t)
			stopped, _, code := report(t, "--data-dir="+s.DataDir)
			if code != 0 || stopped.Values != 4 || stopped.Keys[0].Key != "fresh" || stopped.Keys[0].Count != 1 || stopped.Keys[1].Count != 3 {
				t.Errorf("stopped: code %d, %+v", code, stopped)
			}
			for _, key := range stopped.Keys {
				if key.Provider != "aesgcm" || key.Oldest == nil || key.Oldest.IsZero() {
					t.Errorf("got %+v", key)
				}
			}
		})
	}
}

func TestFailOnAndCheck(t *testing.T) {
	t.Parallel()
	one, two := secretKey(), secretKey()
	config := filepath.Join(t.TempDir(), "encryption.yaml")
	harness.WriteFile(t, config, configHead+aesgcm("one", one))
	s := harness.Start(t, harness.Options{Args: []string{"--rewrap=false", "--encryption-provider-config=" + config}})
	create(t, s.Values(t, "", namespace), "value", 12)
	s.Stop(t)

	data := "--data-dir=" + s.DataDir
	if _, stderr, code := report(t, data, "--fail-on=aesgcm/one"); code != 1 ||
		!containsBoth(stderr, "12 values are still under aesgcm/one", "and 2 more") {
		t.Errorf("code %d: %s", code, stderr)
	}
	for name, test := range map[string]struct {
		config, want string
		code         int
	}{
		"has it":       {aesgcm("two", two, "one", one), "", 0},
		"other secret": {aesgcm("two", two, "one", two), "the secret of aesgcm/one opens none of the values", 1},
		"lacks it":     {aesgcm("two", two), "the file lacks aesgcm/one, under which 12 values are sealed", 1},
		"another kind": {strings.ReplaceAll(aesgcm("one", one), "aesgcm", "secretbox"), "the file lacks aesgcm/one", 1},
		"not sound":    {aesgcm("one", one, "one", two), "two keys named aesgcm/one", 1},
	} {
		harness.WriteFile(t, config, configHead+test.config)
		stdout, stderr, code := harness.Tool(t, "keys", "check", data, "--encryption-provider-config="+config)
		if code != test.code || !strings.Contains(stderr, test.want) {
			t.Errorf("%s: code %d: %s%s", name, code, stdout, stderr)
		}
		if strings.Contains(stdout+stderr, one) || strings.Contains(stdout+stderr, two) {
			t.Errorf("%s: a key is printed", name)
		}
	}
}

// A record that cannot be read is named, and no report that misses one is a proof.
func TestUndecodableRecordsSpoilTheProof(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Args: []string{"--rewrap=false"}})
	create(t, s.Values(t, "", namespace), "value", 2)
	s.Stop(t)
	db := harness.Etcd(t, s.DataDir)
	records, err := db.Client().Get(t.Context(), "/registry/secret.grafana.app/secret.grafana.app/", clientv3.WithPrefix())
	if err != nil || len(records.Kvs) != 2 {
		t.Fatalf("%d records, %v", len(records.Kvs), err)
	}
	canary := harness.Canary()
	prefix := strings.TrimSuffix(string(records.Kvs[0].Key), namespace+"/value-0")
	frame := records.Kvs[0].Value
	for name, record := range map[string]string{
		"x/garbage": canary, "x/empty": "", "x/cut": string(frame[:len(frame)-1]), "x/none": "\x00sv\x01\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		if _, err := db.Client().Put(t.Context(), prefix+name, record); err != nil {
			t.Fatal(err)
		}
	}
	db.Stop()
	found, stderr, code := report(t, "--data-dir="+s.DataDir)
	if code != 1 || found.Undecodable != 4 || found.Values != 6 || !strings.Contains(stderr, "4 records cannot be decoded, x/cut among them") {
		t.Errorf("code %d, %+v\n%s", code, found, stderr)
	}
	table, stderr, _ := harness.Tool(t, "keys", "report", "--data-dir="+s.DataDir)
	for _, name := range []string{"x/garbage", "x/empty", "x/cut", "x/none"} {
		if !strings.Contains(table, "undecodable: "+name+": ") {
			t.Errorf("%s is not named:\n%s", name, table)
		}
	}
	if leaked := harness.Find([]byte(table+stderr), canary); len(leaked) > 0 {
		t.Errorf("the report quotes a record: %v", leaked)
	}
}
