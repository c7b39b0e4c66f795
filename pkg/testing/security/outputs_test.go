// SPDX-License-Identifier: Apache-2.0

package security

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestIncident03CredentialsStayOutOfTheLog: bearer tokens were in debug logs (CVE-2019-11250, and CVE-2020-8565 where
// the fix had missed a form). The harness runs the server at -v=10 with the audit log at RequestResponse.
func TestIncident03CredentialsStayOutOfTheLog(t *testing.T) {
	good, wrong, cookie := harness.Canary(), harness.Canary(), harness.Canary()
	options := access()
	options.Tokens = append(options.Tokens, harness.Token(good, "k6"))
	s := harness.Start(t, options)
	s.Create(t, "default", "a", "value", "k6-cloud")
	for _, server := range []*harness.Server{s, s.OnDecryptPort()} {
		for _, path := range []string{harness.Collection("default"), harness.DecryptPath("default", "a"), "/metrics", "/no/such/path"} {
			for name, header := range map[string]http.Header{
				"bearer":      {"Authorization": {"Bearer " + good}},
				"lower case":  {"Authorization": {"bearer " + good}},
				"wrong":       {"Authorization": {"Bearer " + wrong}},
				"basic":       {"Authorization": {"Basic " + wrong}},
				"alone":       {"Authorization": {wrong}},
				"twice":       {"Authorization": {"Bearer " + good, "Bearer " + wrong}},
				"cookie":      {"Cookie": {"grafana_session=" + cookie}, "Authorization": {"Bearer " + good}},
				"websocket":   {"Sec-Websocket-Protocol": {"base64url.bearer.authorization.k8s.io." + cookie}},
				"front proxy": {"X-Remote-User": {"k6"}, "X-Remote-Extra-Token": {cookie}},
				"impersonation": {"Impersonate-User": {"k6"}, "Impersonate-Extra-Token": {cookie},
					"Authorization": {"Bearer " + good}},
			} {
				clean(t, name, server.Do(t, harness.Request{Method: http.MethodGet, Path: path, Header: header}), good,
					wrong, cookie)
			}
		}
	}
	s.Stop(t)
	for _, file := range []string{s.LogFile, s.OutFile, s.AuditFile,
		filepath.Join(s.DataDir, "decrypt-audit", "decrypt.log")} {
		data := harness.ReadFile(t, file)
		if len(data) == 0 {
			t.Errorf("%s is empty: nothing was searched", file)
		}
		if found := harness.Find(data, good, wrong, cookie); len(found) > 0 {
			t.Errorf("%s holds %v", filepath.Base(file), found)
		}
	}
	if log := s.Log(t); !strings.Contains(log, harness.Collection("default")) {
		t.Error("the log tells of no request: nothing was searched")
	}
}

// TestIncident04FailingCommandsPrintNoSecret: agents printed what they had rendered when they failed
// (GHSA-444v-8vxr-p36h).
func TestIncident04FailingCommandsPrintNoSecret(t *testing.T) {
	s := start(t)
	value, key := harness.Canary(), harness.Canary()
	s.Create(t, "default", "a", value)
	s.Stop(t)
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		harness.WriteFile(t, path, content)
		return path
	}
	config := file("encryption.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: "+
		"EncryptionConfiguration\nresources:\n"+
		"- resources: [securevalues.secret.grafana.app]\n  providers:\n  - aesgcm: {keys: [{name: a, secret: "+
		""+key+"}]}\n")
	for name, args := range map[string][]string{
		"start, bad key": {"--standalone", "--data-dir=" + s.DataDir, "--secure-port=0",
			"--encryption-provider-config=" + config},
		"start, broken YAML": {"--standalone", "--data-dir=" + s.DataDir, "--secure-port=0",
			"--encryption-provider-config=" + file("broken", "keys: ["+key)},
		"start, bad token file": {"--standalone", "--data-dir=" + s.DataDir, "--secure-port=0", "--token-auth-file=" +
			file("tokens", key+"\n")},
		"start, bad manifest": {"--standalone", "--data-dir=" + s.DataDir, "--secure-port=0", "--rbac-dir=" +
			roleFolder(t, key)},
		"keys check":  {"keys", "check", "--data-dir=" + s.DataDir, "--encryption-provider-config=" + config},
		"keys report": {"keys", "report", "--data-dir=" + s.DataDir, "--fail-on=" + sealedUnder(t, s)},
		"keys retire": {"keys", "retire", "--data-dir=" + s.DataDir, sealedUnder(t, s)},
		"keys retire, bad key": {"keys", "retire", "--data-dir=" + s.DataDir, "--encryption-provider-config=" + config,
			"aesgcm/old"},
		"audit verify": {"audit", "verify", "--key-file", file("audit.key", key+"\n"),
			filepath.Join(s.DataDir, "decrypt-audit")},
		"flag with a value": {"--standalone", "--secure-port=" + key[:7]},
	} {
		out, code := harness.Fail(t, args...)
		if code != 1 || out == "" {
			t.Errorf("%s: code %d, printed %q", name, code, out)
		}
		if found := harness.Find([]byte(out), value, key); len(found) > 0 {
			t.Errorf("%s printed %v", name, found)
		}
	}
}

// roleFolder holds a file that somebody put into the wrong folder.
func roleFolder(t *testing.T, secret string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "rbac")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	harness.WriteFile(t, filepath.Join(dir, "secret.yaml"),
		"apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData: {value: "+secret+"}\n")
	return dir
}

// sealedUnder is the name of the key of the data folder.
func sealedUnder(t *testing.T, s *harness.Server) string {
	t.Helper()
	for line := range strings.Lines(string(harness.ReadFile(t, filepath.Join(s.DataDir, "encryption.yaml")))) {
		if _, name, ok := strings.Cut(line, "- name: "); ok {
			return "aesgcm/" + strings.Trim(strings.TrimSpace(name), `"`)
		}
	}
	t.Fatal("encryption.yaml names no key")
	return ""
}

// TestIncident05AnnotationsHoldNoValue: `kubectl apply` left Secrets in an annotation (kubernetes#23564, #29923), other
// tools copied it into their state (pulumi-kubernetes#734), and --record keeps the whole command line.
func TestIncident05AnnotationsHoldNoValue(t *testing.T) {
	s := start(t)
	var canaries []string
	next := func() string {
		canaries = append(canaries, harness.Canary())
		return canaries[len(canaries)-1]
	}
	must := func(stdin string, args ...string) string {
		t.Helper()
		stdout, stderr, err := s.Kubectl(t, stdin, args...)
		if err != nil {
			t.Fatalf("kubectl %v: %v %s", args[0], err, stderr)
		}
		if found := harness.Find([]byte(stdout+stderr), canaries...); len(found) > 0 {
			t.Errorf("kubectl %v printed %v", args[0], found)
		}
		return stdout
	}
	manifest := func() string {
		return "apiVersion: secret.grafana.app/v1beta1\nkind: SecureValue\nmetadata: {name: a}\nspec: " +
			"{description: d, value: " + next() + "}\n"
	}
	must(manifest(), "apply", "-f", "-")
	must(manifest(), "apply", "-f", "-", "--server-side", "--force-conflicts")
	must(manifest(), "apply", "-f", "-")
	must(manifest(), "replace", "-f", "-")
	must("", "patch", "sv", "a", "--type=merge", "--record", "-p", `{"spec":{"value":"`+next()+`"}}`)
	must("", "annotate", "sv", "a", "--overwrite", "kubernetes.io/change-cause=kubectl patch -p "+next())
	must("", "annotate", "sv", "a", "kept=yes")
	shown := must("", "get", "sv", "a", "-o", "yaml", "--show-managed-fields")
	if !strings.Contains(shown, "kept: \"yes\"") || strings.Contains(shown, "change-cause: kubectl") {
		t.Errorf("the object:\n%s", shown)
	}
	must("", "describe", "sv", "a")
	must("", "get", "sv", "-o", "json")
	s.Stop(t)
	s.Leaks(t, canaries...)
}
