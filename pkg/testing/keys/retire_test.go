// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// keysTool runs a subcommand of keys, and wants its exit code and texts that it prints.
func keysTool(t *testing.T, want int, args []string, texts ...string) {
	t.Helper()
	stdout, stderr, code := harness.Tool(t, append([]string{"keys"}, args...)...)
	if code != want {
		t.Errorf("keys %v: code %d, want %d\n%s%s", args, code, want, stdout, stderr)
	}
	for _, text := range texts {
		if !strings.Contains(stdout+stderr, text) {
			t.Errorf("keys %v does not say %q:\n%s%s", args, text, stdout, stderr)
		}
	}
}

// write sends a request with a body for one value as the administrator, without the retries of client-go.
func write(t *testing.T, s *harness.Server, method, name, body string) harness.Response {
	t.Helper()
	path := harness.Collection(namespace) + "/" + name
	return s.Do(t, harness.Request{Method: method, Path: path, Token: s.AdminToken, Body: body})
}

// A server lags behind a rotation: it was paused while the old key was retired, or kept its last good file. The proof
// is refused until the key is retired, and binds what that server writes from then on: nothing is lost with the old
// key.
func TestRetiredKeyBindsAServerThatLags(t *testing.T) {
	t.Parallel()
	etcdFlag := harness.EtcdServers(harness.Etcd(t, t.TempDir()))
	oldSecret, newSecret, canary := secretKey(), secretKey(), harness.Canary()
	start := func(name string) (*harness.Server, string) {
		opts, config := localOptions(t, aesgcm("old", oldSecret, "new", newSecret))
		opts.Args = append(opts.Args, etcdFlag, "--rewrap=false", "--decrypt-audit-instance="+name)
		return harness.Start(t, opts), config
	}
	a, fileA := start("server-a")
	b, fileB := start("server-b")
	values := a.Values(t, "", namespace)
	create(t, values, "value", 3, "k6-cloud")
	harness.WriteFile(t, fileA, configHead+aesgcm("new", newSecret, "old", oldSecret))
	harness.Eventually(t, "the new key seals on one server", func() bool {
		return a.Metric(t, `secret_encryption_write_key{key="aesgcm/new"}`) == 1
	})

	database := []string{etcdFlag, "--encryption-provider-config=" + fileA}
	retire := append([]string{"retire", "aesgcm/old"}, database...)
	proof := append([]string{"report", "--fail-on=aesgcm/old"}, database...)
	checked := filepath.Join(t.TempDir(), "new.yaml")
	harness.WriteFile(t, checked, configHead+aesgcm("new", newSecret))
	check := []string{"check", etcdFlag, "--encryption-provider-config=" + checked}
	command := "secret-apiserver keys retire aesgcm/old"
	keysTool(
		t,
		1,
		proof,
		"3 values are still under aesgcm/old",
		"aesgcm/old is not retired",
		command+" --encryption-provider-config "+fileA+" --servers N --etcd-servers "+strings.TrimPrefix(
			etcdFlag,
			"--etcd-servers=",
		),
	)
	keysTool(t, 1, retire, "--servers is required")
	keysTool(t, 1, append(retire, "--servers=2"), "server server-b writes under aesgcm/old", "nothing was changed")
	keysTool(
		t,
		1,
		append(retire, "--servers=3"),
		"--servers is 3, but 2 running servers are announced (server-a, server-b)",
	)

	b.Signal(t, syscall.SIGSTOP)
	waitServers(t, []string{etcdFlag}, "the paused server is not announced", count(1))
	keysTool(t, 1, append(retire, "--servers=1"), "aesgcm/old is retired since revision",
		"3 values are still under aesgcm/old", "it stays retired")
	b.Signal(t, syscall.SIGCONT)

	put := write(t, b, http.MethodPut, "value-0", harness.Object(t, "value-0", canary, "k6-cloud"))
	if status := put.Status(t); put.Code != http.StatusServiceUnavailable || put.Header.Get("Retry-After") == "" ||
		!strings.Contains(status.Message, "key aesgcm/old of this server is retired; nothing was changed") {
		t.Errorf("a PUT through the server that lags: %d %s", put.Code, put.Body)
	}
	const merge = "application/merge-patch+json"
	for name, test := range map[string]struct {
		method, path, contentType, body string
		want                            int
	}{
		"a create": {http.MethodPost, "", "", harness.Object(t, "fresh", canary), http.StatusServiceUnavailable},
		"a create of a name that exists": {
			http.MethodPost, "", "", harness.Object(t, "value-1", canary), http.StatusServiceUnavailable,
		},
		"a patch with a value": {
			http.MethodPatch, "value-0", merge, `{"spec":{"value":"` + canary + `"}}`, http.StatusServiceUnavailable,
		},
		"a decrypter taken": {
			http.MethodPatch, "value-1", merge, `{"spec":{"decrypters":[]}}`, http.StatusServiceUnavailable,
		},
		"a dry run": {
			http.MethodPost, "?dryRun=All", "", harness.Object(t, "fresh", canary), http.StatusCreated,
		},
		"a label": {
			http.MethodPatch, "value-0", merge, `{"metadata":{"labels":{"a":"b"}}}`, http.StatusOK,
		},
		"a rewrap with nothing to do": {http.MethodPost, "value-2/rewrap", "", "{}", http.StatusCreated},
		"another read":                {http.MethodGet, "value-0", "", "", http.StatusOK},
	} {
		path := strings.TrimSuffix(harness.Collection(namespace)+"/"+test.path, "/")
		got := b.Do(
			t,
			harness.Request{Method: test.method, Path: strings.Replace(path, "/?", "?", 1), Token: b.AdminToken,
				ContentType: test.contentType, Body: test.body},
		)
		if got.Code != test.want {
			t.Errorf("%s: %d, want %d: %s", name, got.Code, test.want, got.Body)
		}
	}
	harness.Eventually(t, "the server that lags shows a notice", func() bool {
		ready := b.Do(t, harness.Request{Method: http.MethodGet, Path: "/readyz?verbose", Token: b.AdminToken})
		return ready.Code == http.StatusOK && strings.Contains(string(ready.Body), "[+]retired-key (the first key")
	})
	if !strings.Contains(b.Log(t), "The first key of the encryption configuration is retired") {
		t.Error("the log does not name the retired key")
	}

	for i := range 3 {
		if got := write(
			t,
			a,
			http.MethodPost,
			fmt.Sprintf("value-%d/rewrap", i),
			"{}",
		); got.Code != http.StatusCreated {
			t.Fatalf("rewrap: %d %s", got.Code, got.Body)
		}
	}
	if got := write(t, b, http.MethodPost, "value-0/rewrap", "{}"); got.Code != http.StatusServiceUnavailable {
		t.Errorf("a rewrap under the retired key: %d %s", got.Code, got.Body)
	}
	keysTool(t, 0, proof, "retired: aesgcm/old since revision")
	keysTool(t, 0, check)
	for _, file := range []string{fileA, fileB} {
		harness.WriteFile(t, file, configHead+aesgcm("new", newSecret)) // the old secret is destroyed
	}
	harness.Eventually(t, "the server that lagged has the file", func() bool {
		return b.Metric(t, `secret_encryption_write_key{key="aesgcm/new"}`) == 1
	})
	if put = write(
		t,
		b,
		http.MethodPut,
		"value-0",
		harness.Object(t, "value-0", canary, "k6-cloud"),
	); put.Code != http.StatusOK {
		t.Errorf("a PUT under the new key: %d %s", put.Code, put.Body)
	}
	for i := range 3 {
		for name, s := range map[string]*harness.Server{"a": a, "b": b} {
			if code := s.Decrypt(
				t,
				harness.K6Token,
				namespace,
				fmt.Sprintf("value-%d", i),
			).Code; code != http.StatusOK {
				t.Errorf("value-%d is lost on server %s: %d", i, name, code)
			}
		}
	}
	a.OutputLeaks(t, canary)
	b.OutputLeaks(t, canary)
}

// What must not be retired is refused and changes nothing. A key that is may be retired again, and undone; a record of
// a server that does not know retired keys is named.
func TestRetireAndUndo(t *testing.T) {
	t.Parallel()
	one, two := secretKey(), secretKey()
	s := harness.Start(t, harness.Options{Args: []string{"--rewrap=false"}})
	own := s.DataDir + "/encryption.yaml"
	s.Stop(t)
	data := "--data-dir=" + s.DataDir
	retire := func(want int, key string, texts ...string) {
		t.Helper()
		keysTool(t, want, []string{"retire", data, key}, texts...)
	}
	harness.WriteFile(t, own, configHead+aesgcm("one", one))
	retire(1, "aesgcm/one", "aesgcm/one is the only key in "+own)
	harness.WriteFile(t, own, configHead+aesgcm("one", one, "two", two))
	retire(1, "aesgcm/one", "aesgcm/one is the first key in "+own)
	retire(1, "aesgcm/tow", `is named "aesgcm/tow"`, "nothing was changed")
	keysTool(t, 1, []string{"retire", data, "aesgcm/two", "--undo"}, "aesgcm/two is not retired")
	command := "secret-apiserver keys retire aesgcm/two --data-dir " + s.DataDir
	keysTool(t, 1, []string{"report", data, "--fail-on=aesgcm/two"}, "aesgcm/two is not retired", command)
	without := filepath.Join(t.TempDir(), "without.yaml")
	harness.WriteFile(t, without, configHead+aesgcm("one", one))
	check := []string{"check", data, "--encryption-provider-config=" + without}
	keysTool(t, 1, check, "aesgcm/two is not retired", command)

	backup := func(name string) (restored string) {
		t.Helper()
		file, restored := filepath.Join(t.TempDir(), name), filepath.Join(t.TempDir(), name)
		for _, args := range [][]string{
			{"backup", data, "--to=" + file}, {"restore", "--from=" + file, "--data-dir=" + restored},
		} {
			if _, stderr, code := harness.Tool(t, args...); code != 0 {
				t.Fatalf("%v: code %d: %s", args, code, stderr)
			}
		}
		harness.WriteFile(t, filepath.Join(restored, "encryption.yaml"), configHead+aesgcm("one", one, "two", two))
		return "--data-dir=" + restored
	}
	before := backup("before")
	for range 2 {
		retire(0, "aesgcm/two", "aesgcm/two is retired since revision", "Backups of a revision before",
			"secret-apiserver keys check --encryption-provider-config FILE --data-dir "+s.DataDir)
	}
	keysTool(t, 0, []string{"report", data, "--fail-on=aesgcm/two"}, "retired: aesgcm/two since revision")
	keysTool(t, 0, check)
	// What is restored from before the retirement has no record of it, and is no proof.
	keysTool(t, 1, []string{"report", before, "--fail-on=aesgcm/two"}, "aesgcm/two is not retired")
	keysTool(t, 0, []string{"report", backup("after"), "--fail-on=aesgcm/two"}, "retired: aesgcm/two since revision")

	// The key first again: every write of a value is refused, after a restart too.
	harness.WriteFile(t, own, configHead+aesgcm("two", two, "one", one))
	s = harness.Start(t, harness.Options{DataDir: s.DataDir, Args: []string{"--rewrap=false"}})
	if got := write(
		t,
		s,
		http.MethodPost,
		"",
		harness.Object(t, "a", "value"),
	); got.Code != http.StatusServiceUnavailable {
		t.Errorf("a create under a retired key: %d %s", got.Code, got.Body)
	}
	keysTool(t, 1, []string{"retire", data, "aesgcm/two"}, "aesgcm/two is the first key in")
	keysTool(t, 0, []string{"retire", data, "aesgcm/two", "--undo"}, "aesgcm/two is not retired any more")
	harness.Eventually(t, "the server writes again", func() bool {
		return write(t, s, http.MethodPost, "", harness.Object(t, "a", "value")).Code == http.StatusCreated
	})
	keysTool(t, 1, []string{"retire", data, "aesgcm/two"}, "writes under aesgcm/two")
	s.Rotate(t, "three")
	waitServers(t, []string{data}, "the new write key is announced", func(servers []sealed.Server) bool {
		return len(servers) == 1 && servers[0].WriteKey == "aesgcm/three"
	})
	keysTool(t, 1, []string{"retire", data, "aesgcm/two"}, "1 values are still under aesgcm/two", namespace+"/a")
	if got := write(t, s, http.MethodPut, "a", harness.Object(t, "a", "again")); got.Code != http.StatusOK {
		t.Fatalf("%d %s", got.Code, got.Body)
	}
	retire(0, "aesgcm/two")
	s.Stop(t)

	// A version that does not know retired keys writes frames of version 1, whatever their key.
	db := harness.Etcd(t, s.DataDir)
	key := sealed.RecordRoot(options.EtcdPrefix) + namespace + "/a"
	found, err := db.Client().Get(t.Context(), key)
	if err != nil || len(found.Kvs) != 1 {
		t.Fatalf("%d records, %v", len(found.Kvs), err)
	}
	found.Kvs[0].Value[3] = 1
	if _, err := db.Client().Put(t.Context(), key, string(found.Kvs[0].Value)); err != nil {
		t.Fatal(err)
	}
	db.Stop()
	for _, args := range [][]string{{"report", data, "--fail-on=aesgcm/two"}, {"retire", data, "aesgcm/two"}} {
		keysTool(
			t,
			1,
			args,
			"1 values were written after aesgcm/two was retired by a server of a version that does not know "+
				"retired keys: "+namespace+"/a",
		)
	}
}
