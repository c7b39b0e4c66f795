// SPDX-License-Identifier: Apache-2.0

package backup

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const otherKeys = `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [securevalues.secret.grafana.app]
  providers:
  - aesgcm: {keys: [{name: NAME, secret: dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=}]}
`

var keyName = regexp.MustCompile(`name: (\S+)`)

// Values that do not open are counted and named, by the reason, and never shown.
func TestVerifyNamesWhatDoesNotOpen(t *testing.T) {
	t.Parallel()
	s := start(t, "", "--rewrap=false")
	stored := fill(t, s, 6, 0)
	own := string(keyName.FindSubmatch(harness.ReadFile(t, keys(s.DataDir)))[1])
	rotated := strings.Replace(string(harness.ReadFile(t, keys(s.DataDir))), "keys:\n",
		"keys:\n      - name: fresh\n        secret: dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=\n", 1)
	s.Stop(t)
	harness.WriteFile(t, keys(s.DataDir), rotated)
	s = start(t, s.DataDir, "--rewrap=false")
	canary := harness.Canary()
	if _, err := s.Values(t, "", namespace).Create(t.Context(), harness.NewValue("fresh", canary, "k6-cloud"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	stored["fresh"] = canary
	s.Stop(t)
	good := file(t)
	output := must(t, "backup", "--data-dir="+s.DataDir, "--to="+good, "--verify", "--encryption-provider-config="+keys(s.DataDir))
	wantLines(t, output, `aesgcm +fresh +1 +0`, `aesgcm +`+own+` +6 +0`, `7 of 7 values open at revision \d+`)

	tamper(t, s.DataDir)
	bad := file(t)
	saved, stderr, code := harness.Tool(t, "backup", "--data-dir="+s.DataDir, "--to="+bad, "--verify", "--encryption-provider-config="+keys(s.DataDir))
	if code != 1 || !strings.Contains(stderr, "5 of the 9 values in "+bad+" do not open, default/fresh among them") || strings.Count(stderr, "\n") != 1 {
		t.Errorf("code %d: %s", code, stderr)
	}
	if _, err := os.Stat(bad); err != nil {
		t.Errorf("the backup itself is kept: %v", err)
	}
	wantLines(t, saved, `aesgcm +fresh +0 +1`, `aesgcm +`+own+` +4 +3`, `- +- +0 +1`, `4 of 9 values open at revision \d+`,
		`does not open: default/moved: etcd holds the record of another object in its place`,
		`does not open: default/value-0: it was changed, or its key has another secret.*`,
		`does not open: default/value-1: the stored record is not a sealed frame.*`,
		`does not open: other/value-3: etcd holds the record of another object in its place`,
		`does not open: default/fresh: it was changed.*`)

	// Keys that are not those of the backup's time.
	wrong, lacking := file(t), file(t)
	harness.WriteFile(t, wrong, strings.Replace(otherKeys, "NAME", own, 1))
	harness.WriteFile(t, lacking, strings.Replace(otherKeys, "NAME", "fresh", 1))
	target := filepath.Join(t.TempDir(), "target")
	for _, test := range []struct{ keys, want string }{
		{wrong, `does not open: default/value-2: it was changed, or its key has another secret.*`},
		{lacking, `does not open: default/value-2: its key is not in the encryption configuration.*`},
	} {
		stdout, stderr, code := harness.Tool(t, "backup", "verify", "--from="+good, "--encryption-provider-config="+test.keys)
		if code != 1 {
			t.Errorf("code %d", code)
		}
		wantLines(t, stdout, test.want)
		output += stdout + stderr
		stdout, stderr, code = harness.Tool(t, "restore", "--from="+good, "--data-dir="+target, "--verify", "--encryption-provider-config="+test.keys)
		if code != 1 || !strings.Contains(stderr, "nothing was restored") || tree(t, target) != "" {
			t.Errorf("code %d: %s", code, stderr)
		}
		output += stdout + stderr
	}
	// Without --verify the keys are compared by name.
	_, stderr, code = harness.Tool(t, "restore", "--from="+good, "--data-dir="+target, "--encryption-provider-config="+lacking)
	if want := "--encryption-provider-config lacks aesgcm/" + own + ", under which 6 values are sealed; nothing was restored"; code != 1 ||
		!strings.Contains(stderr, want) || tree(t, target) != "" {
		t.Errorf("code %d: %s", code, stderr)
	}
	must(t, "restore", "--from="+good, "--data-dir="+target, "--encryption-provider-config="+keys(s.DataDir))
	for what, data := range map[string][]byte{
		"output": []byte(output + saved + stderr), "a backup": harness.ReadFile(t, good), "a bad backup": harness.ReadFile(t, bad),
	} {
		noCanary(t, what, data, stored)
	}
}

func wantLines(t *testing.T, text string, patterns ...string) {
	t.Helper()
	for _, pattern := range patterns {
		if !regexp.MustCompile(`(?m)^` + pattern + `$`).MatchString(text) {
			t.Errorf("no line %s:\n%s", pattern, text)
		}
	}
}

// tamper edits records as somebody who can write to etcd does: a ciphertext changed by a bit, a record that is none,
// one copied to another name, one to another namespace, and one with the ciphertext of its neighbour.
func tamper(t *testing.T, dataDir string) {
	t.Helper()
	db := harness.Etcd(t, dataDir)
	defer db.Stop()
	const root = "/registry/secret.grafana.app/secret.grafana.app/securevalues/"
	read := func(name string) []byte {
		got, err := db.Client().Get(t.Context(), root+name)
		if err != nil || len(got.Kvs) != 1 {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		return got.Kvs[0].Value
	}
	last := func(name string) []byte {
		record := read(name)
		return flip(record, len(record)-1)
	}
	for name, record := range map[string][]byte{
		"default/value-0": last("default/value-0"),
		"default/value-1": []byte("garbage"),
		"default/moved":   read("default/value-2"),
		"other/value-3":   read("default/value-3"),
		"default/fresh":   last("default/fresh"),
	} {
		if _, err := db.Client().Put(t.Context(), root+name, string(record)); err != nil {
			t.Fatal(err)
		}
	}
	// Beside the records: another prefix, and a record that was deleted.
	if _, err := db.Client().Put(t.Context(), root+"default/gone", "garbage"); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Client().Delete(t.Context(), root+"default/gone", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Client().Put(t.Context(), "/registry/other", "garbage"); err != nil {
		t.Fatal(err)
	}
}

// A tool prints nothing of what its libraries log. aescbc is what a server warns of.
func TestToolsLogNothing(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "keys.yaml")
	harness.WriteFile(t, config, strings.NewReplacer("aesgcm", "aescbc", "NAME", "weak").Replace(otherKeys))
	withKeys := "--encryption-provider-config=" + config
	s := start(t, "", withKeys)
	fill(t, s, 1, 0)
	for _, running := range []bool{true, false} {
		if !running {
			s.Stop(t)
		}
		saved := file(t)
		must(t, "backup", "--data-dir="+s.DataDir, "--to="+saved, "--verify", withKeys)
		must(t, "backup", "verify", "--from="+saved, withKeys)
		must(t, "restore", "--from="+saved, "--data-dir="+filepath.Join(t.TempDir(), "restored"), "--verify", withKeys)
		must(t, "keys", "report", "--data-dir="+s.DataDir)
		must(t, "keys", "check", "--data-dir="+s.DataDir, withKeys)
	}
	must(t, "audit", "verify", "--key-file="+filepath.Join(s.DataDir, "decrypt-audit.key"), filepath.Join(s.DataDir, "decrypt-audit"))
}
