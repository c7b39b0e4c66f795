// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"encoding/binary"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// localOptions run a server with keys in a file, which may be changed while it runs.
func localOptions(t *testing.T, providers string) (options harness.Options, config string) {
	t.Helper()
	config = filepath.Join(t.TempDir(), "keys.yaml")
	harness.WriteFile(t, config, configHead+providers)
	options = harness.Options{Args: []string{
		"--encryption-provider-config=" + config, "--encryption-provider-config-automatic-reload", "--rewrap-probe-interval=500ms",
	}}.WithK6(namespace)
	return options, config
}

// editRecords changes the envelopes that a stopped server has stored.
func editRecords(t *testing.T, dataDir string, edit func(envelope string) string) {
	t.Helper()
	db := harness.Etcd(t, dataDir)
	defer db.Stop()
	records, err := db.Client().Get(t.Context(), "/registry/secret.grafana.app/secret.grafana.app/", clientv3.WithPrefix())
	if err != nil || len(records.Kvs) == 0 {
		t.Fatalf("no records: %v", err)
	}
	for _, kv := range records.Kvs {
		head, object := kv.Value[:8], kv.Value[12:12+binary.BigEndian.Uint32(kv.Value[4:])]
		envelope := edit(string(kv.Value[12+len(object):]))
		record := binary.BigEndian.AppendUint32(append([]byte(nil), head...), uint32(len(envelope)))
		if _, err := db.Client().Put(t.Context(), string(kv.Key), string(append(append(record, object...), envelope...))); err != nil {
			t.Fatal(err)
		}
	}
}

// A known name with another secret is refused at reload, by keys check and at start, and nothing is lost meanwhile.
func TestSameNameOtherSecret(t *testing.T) {
	t.Parallel()
	first, second := secretKey(), secretKey()
	options, config := localOptions(t, aesgcm("key", first))
	s := harness.Start(t, options)
	values := s.Values(t, "", namespace)
	create(t, values, "value", 3, "k6-cloud")

	harness.WriteFile(t, config, configHead+aesgcm("new", secretKey(), "key", second))
	harness.Eventually(t, "the reload is refused", func() bool {
		return s.Metric(t, `secret_reload_total{result="failure",source="encryption-provider-config"}`) > 0
	})
	create(t, values, "after", 1, "k6-cloud")
	for _, name := range []string{"value-0", "after-0"} {
		if code := s.Decrypt(t, harness.K6Token, namespace, name).Code; code != http.StatusOK {
			t.Errorf("decrypting %s after the refused reload: %d", name, code)
		}
	}
	if log := s.Log(t); !containsBoth(log, "File not reloaded", "another secret for aesgcm/key than the one that was in force") || strings.Contains(log, second) {
		t.Error("the log does not say why the reload was refused, or has the secret")
	}
	_, stderr, code := harness.Tool(t, "keys", "check", "--data-dir="+s.DataDir, "--encryption-provider-config="+config)
	if code != 1 || !strings.Contains(stderr, "the secret of aesgcm/key opens none of the values") {
		t.Errorf("keys check: code %d, %s", code, stderr)
	}
	s.Stop(t)

	args := []string{"--standalone", "--data-dir=" + s.DataDir, "--secure-port=0", "--decrypt-port=auto", "--encryption-provider-config=" + config}
	for name, providers := range map[string]string{
		"write key": aesgcm("key", second), "read key": aesgcm("new", secretKey(), "key", second),
	} {
		harness.WriteFile(t, config, configHead+providers)
		out, code := harness.Fail(t, args...)
		if code != 1 || !strings.Contains(out, "the secret of aesgcm/key opens none of the values") || strings.Contains(out, second) {
			t.Errorf("%s: start ended with %d: %s", name, code, out)
		}
	}
	harness.WriteFile(t, config, configHead+aesgcm("new", secretKey(), "key", first))
	options.DataDir = s.DataDir
	s = harness.Start(t, options)
	if code := s.Decrypt(t, harness.K6Token, namespace, "value-0").Code; code != http.StatusOK {
		t.Errorf("after the start with the right secret: %d", code)
	}
}

// Names with a colon, as an older version took them: refused for writing, and told apart, reported and moved when
// reading.
func TestNamesWithAColon(t *testing.T) {
	t.Parallel()
	secret := secretKey()
	options, config := localOptions(t, aesgcm("team", secret))
	s := harness.Start(t, options)
	stored := create(t, s.Values(t, "", namespace), "value", 5, "k6-cloud")
	s.Stop(t)
	editRecords(t, s.DataDir, func(envelope string) string { return strings.Replace(envelope, ":team:", ":team:2026-01:", 1) })

	const old = "team:2026-01"
	quoted := `"` + old + `"`
	harness.WriteFile(t, config, configHead+aesgcm(quoted, secret))
	out, code := harness.Fail(t, "--standalone", "--data-dir="+s.DataDir, "--secure-port=0", "--encryption-provider-config="+config)
	if code != 1 || !strings.Contains(out, `the write key "team:2026-01" of provider aesgcm has a name that a stored value cannot hold`) {
		t.Errorf("start with a colon in the write key ended with %d: %s", code, out)
	}

	harness.WriteFile(t, config, configHead+aesgcm(`"team:2026-02"`, secretKey(), quoted, secret))
	data, keys := "--data-dir="+s.DataDir, "--encryption-provider-config="+config
	for _, args := range [][]string{{data, keys}, {data}} { // the question alone is enough to tell the names apart
		found, stderr, code := report(t, append(args, "--fail-on=aesgcm/"+old)...)
		if code != 1 || !strings.Contains(stderr, "5 values are still under aesgcm/"+old) || len(found.Keys) != 1 || found.Keys[0].Key != old {
			t.Errorf("%v: code %d, %+v, %s", args, code, found, stderr)
		}
	}
	harness.WriteFile(t, config, configHead+aesgcm("other", secretKey(), `"team:2026-02"`, secretKey(), quoted, secret))
	keysTool(t, 0, []string{"retire", data, keys, "aesgcm/team:2026-02"}) // it seals nothing

	harness.WriteFile(t, config, configHead+aesgcm("new", secretKey(), "team", secretKey()))
	if _, stderr, code := harness.Tool(t, "keys", "check", data, keys); code != 1 {
		t.Errorf("keys check without the key: code %d, %s", code, stderr)
	}
	harness.WriteFile(t, config, configHead+aesgcm("new", secretKey(), quoted, secret))
	if _, stderr, code := harness.Tool(t, "keys", "check", data, keys); code != 0 {
		t.Errorf("keys check with the key: code %d, %s", code, stderr)
	}
	options.DataDir = s.DataDir
	s = harness.Start(t, options)
	harness.Eventually(t, "every value is moved", func() bool { return byKey(t, s.Values(t, "", namespace))["aesgcm/new"] == len(stored) })
	for name := range stored {
		if code := s.Decrypt(t, harness.K6Token, namespace, name).Code; code != http.StatusOK {
			t.Errorf("decrypting %s: %d", name, code)
		}
	}
	s.Stop(t)
	keysTool(t, 0, []string{"retire", data, keys, "aesgcm/" + old})
}

// A key that is not there is told by one line, a metric and a notice, and no caller is asked to try again.
func TestLostKey(t *testing.T) {
	t.Parallel()
	lost, other := secretKey(), secretKey()
	options, config := localOptions(t, aesgcm("lost", lost))
	s := harness.Start(t, options)
	canary := harness.Canary()
	for _, name := range []string{"a", "b"} {
		if _, err := s.Values(t, "", namespace).Create(t.Context(), harness.NewValue(name, canary, "k6-cloud", "synthetic-monitoring"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop(t)

	harness.WriteFile(t, config, configHead+aesgcm("other", other))
	options.DataDir, options.Args = s.DataDir, append(options.Args, "--rewrap=false")
	s = harness.Start(t, options)
	const series = `secret_encryption_missing_key_values{key="aesgcm/lost"}`
	harness.Eventually(t, "the values are counted", func() bool { return s.Metric(t, series) == 2 })
	if log := s.Log(t); !containsBoth(log, "Stored values do not open", `values=2 keys="aesgcm/lost (2)"`) {
		t.Error("the log does not say what is missing")
	}
	ready := s.Get(t, "/readyz?verbose", s.AdminToken)
	if ready.Code != http.StatusOK || !strings.Contains(string(ready.Body), "[+]encryption-keys (values are stored under keys that the file lacks") {
		t.Errorf("readiness: %d %s", ready.Code, ready.Body)
	}
	object := harness.Collection(namespace) + "/a"
	for what, response := range map[string]harness.Response{
		"decrypt": s.Decrypt(t, harness.K6Token, namespace, "a"),
		"patch": s.Do(t, harness.Request{
			Method: http.MethodPatch, Path: object, Token: s.AdminToken, ContentType: string(types.MergePatchType),
			Body: `{"spec":{"decrypters":["k6-cloud"]}}`,
		}),
		"rewrap": s.Do(t, harness.Request{Method: http.MethodPost, Path: object + "/rewrap", Token: s.AdminToken, Body: "{}"}),
	} {
		if response.Code != http.StatusInternalServerError || strings.Contains(string(response.Body), "again") || response.Header.Get("Retry-After") != "" {
			t.Errorf("%s: %d %v %s", what, response.Code, response.Header, response.Body)
		}
	}
	_, stderr, code := harness.Tool(t, "keys", "check", "--data-dir="+s.DataDir, "--encryption-provider-config="+config)
	if code != 1 || !strings.Contains(stderr, "the file lacks aesgcm/lost, under which 2 values are sealed") {
		t.Errorf("keys check: code %d, %s", code, stderr)
	}

	harness.WriteFile(t, config, configHead+aesgcm("other", other, "lost", lost))
	harness.Eventually(t, "the key is back", func() bool { return s.Decrypt(t, harness.K6Token, namespace, "a").Code == http.StatusOK })
	harness.Eventually(t, "the metric says so", func() bool { return s.Metric(t, series) == 0 })
	s.Leaks(t, canary)
}

// Exit 0 is what people destroy a key on: a name that nothing knows is an error.
func TestFailOnAName(t *testing.T) {
	t.Parallel()
	options, config := localOptions(t, aesgcm("new", secretKey(), "old", secretKey()))
	s := harness.Start(t, options)
	create(t, s.Values(t, "", namespace), "value", 1)
	s.Stop(t)
	data, keys := "--data-dir="+s.DataDir, "--encryption-provider-config="+config
	keysTool(t, 0, []string{"retire", data, keys, "aesgcm/old"})
	for failOn, want := range map[string]int{
		"aesgcm/old": 0, "aesgcm/new": 1, "aesgcm/typo": 1, "aesgcm/old ": 1, " aesgcm/old": 1, "aesgcm/Old": 1, "AESGCM/old": 1,
		"aesgcm/ol": 1, "aesgcm/old/": 1, "secretbox/old": 1, "kms/old": 1, "aesgcm/old\n": 1,
	} {
		if _, stderr, code := harness.Tool(t, "keys", "report", data, keys, "--fail-on="+failOn); code != want {
			t.Errorf("--fail-on=%q: code %d, want %d: %s", failOn, code, want, stderr)
		}
	}
	if _, stderr, code := harness.Tool(t, "keys", "report", data, "--fail-on=aesgcm/other"); code != 1 || !strings.Contains(stderr, "give the file that still has the key") {
		t.Errorf("without a file: code %d, %s", code, stderr)
	}
}

// A writer to etcd chooses the bytes of a key's name: nothing that is shown to people or to Prometheus has them.
func TestAttackKeyNamesInEtcd(t *testing.T) {
	t.Parallel()
	options, config := localOptions(t, aesgcm("key", secretKey()))
	s := harness.Start(t, options)
	create(t, s.Values(t, "", namespace), "value", 2, "k6-cloud")
	s.Stop(t)
	names, n := []string{"\x1b[2J\x1b[31mgone", "\xff\xfe"}, 0
	editRecords(t, s.DataDir, func(envelope string) string {
		n++
		return strings.Replace(envelope, ":key:", ":"+names[n-1]+":", 1)
	})
	wantClean := func(what, text string) {
		t.Helper()
		if strings.Contains(text, "\x1b") || strings.Contains(text, "\xff") || strings.Contains(text, "[31mgone") {
			t.Errorf("%s shows %q", what, text)
		}
	}
	options.DataDir = s.DataDir
	s = harness.Start(t, options)
	harness.Eventually(t, "the metrics show them", func() bool {
		return s.Metric(t, `secret_values{key="unreadable"}`) == 2 && s.Metric(t, `secret_encryption_missing_key_values{key="unreadable"}`) == 2
	})
	harness.Eventually(t, "the controller has tried", func() bool { return s.Metric(t, "secret_rewrap_controller_failing_values") == 2 })
	wantClean("/metrics", s.Metrics(t))
	table := s.Do(t, harness.Request{
		Method: http.MethodGet, Path: harness.Collection(namespace), Token: s.AdminToken,
		Header: http.Header{"Accept": {"application/json;as=Table;v=v1;g=meta.k8s.io"}},
	})
	wantClean("the table", string(table.Body))
	if got := byKey(t, s.Values(t, "", namespace)); got["unreadable"] != 2 {
		t.Errorf("status.key: %v", got)
	}
	if code := s.Decrypt(t, harness.K6Token, namespace, "value-0").Code; code != http.StatusInternalServerError {
		t.Errorf("decrypt: %d", code)
	}
	wantClean("the log", s.Log(t))
	for _, args := range [][]string{{"report"}, {"report", "-o=json"}, {"check", "--encryption-provider-config=" + config}} {
		stdout, stderr, code := harness.Tool(t, append([]string{"keys", args[0], "--data-dir=" + s.DataDir}, args[1:]...)...)
		if code != 1 || !strings.Contains(stdout+stderr, "unreadable") {
			t.Errorf("keys %v: code %d, %s%s", args, code, stdout, stderr)
		}
		wantClean("keys "+args[0], stdout+stderr)
	}
}

// The write key is named from the configuration: a server that is asked for nothing seals nothing, through rotations
// and the probes of the rewrap controller.
func TestIdleServerSpendsNoNonce(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Args: []string{"--rewrap=false"}})
	create(t, s.Values(t, "", namespace), "value", 1)
	before := seals(t, s)
	if before == 0 {
		t.Fatal("no seal is counted")
	}
	s.Rotate(t, "second")
	s.Rotate(t, "third")
	rewraps := s.Values(t, "", namespace)
	for range 3 {
		answer, err := rewraps.CreateRewrap(t.Context(), "value-0", &v1beta1.SecureValueRewrap{}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err != nil || answer.Status.WriteKey != "aesgcm/third" {
			t.Fatalf("%+v, %v", answer, err)
		}
	}
	if after := seals(t, s); after != before {
		t.Errorf("%v seals before, %v after two rotations and three probes", before, after)
	}
}

// seals counts what upstream's transformers have sealed.
func seals(t *testing.T, s *harness.Server) float64 {
	t.Helper()
	sum := 0.0
	for line := range strings.Lines(s.Metrics(t)) {
		if strings.HasPrefix(line, "apiserver_storage_transformation_operations_total{") && strings.Contains(line, `transformation_type="to_storage"`) {
			n, err := strconv.ParseFloat(strings.TrimSpace(line[strings.LastIndex(line, " "):]), 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}
