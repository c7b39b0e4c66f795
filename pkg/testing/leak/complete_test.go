// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"encoding/json"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// withoutValues are resources that neither take nor hold a value.
var withoutValues = map[string]bool{
	"selfsubjectreviews create": true, "selfsubjectaccessreviews create": true, "selfsubjectrulesreviews create": true,
	"sealingkeys get": true, "sealingkeys list": true, // public keys
}

// covered is what the table sends, in the words of discovery: resource and verb.
func covered() map[string]bool {
	all := map[string]bool{}
	for _, c := range table() {
		resource := "securevalues" + c.verb.path
		switch {
		case c.ask.name != "" || c.method != "" && c.method != "GET":
		case c.method == "GET" && strings.Contains(c.read, "watch=true"):
			all["securevalues watch"] = true
		case c.method == "GET" && strings.HasPrefix(c.read, "/"):
			all["securevalues get"] = true
		case c.method == "GET":
			all["securevalues list"] = true
		default:
			all[resource+" "+verbOf(c.verb)] = true
		}
	}
	return all
}

// verbOf is the verb that the server makes of a method.
func verbOf(v verb) string {
	switch {
	case v.method == "POST":
		return "create"
	case v.method == "PUT":
		return "update"
	case v.method == "PATCH":
		return "patch"
	case v.collection:
		return "deletecollection"
	}
	return "delete"
}

// TestTableIsComplete compares the table with what the server says it serves. If you add a resource, a subresource, a
// verb or a media type, add a row to the table too.
func TestTableIsComplete(t *testing.T) {
	s := startStandalone(t)
	rows := covered()
	for resource, verbs := range discovered(t, s) {
		for _, verb := range verbs {
			if key := resource + " " + verb; !rows[key] && !withoutValues[key] {
				t.Errorf("the server serves %q, and no row of the table sends it", key)
			}
		}
	}
	for method, served := range takes(t, s) {
		if len(served) < 3 {
			t.Errorf("%s takes %v only", method, served)
		}
		for _, mediaType := range served {
			if !sends(method, mediaType) {
				t.Errorf("%s takes %s, and no row of the table sends it", method, mediaType)
			}
		}
	}
}

var mediaTypes = regexp.MustCompile(`application/[a-z0-9.+-]+[a-z0-9]`)

// takes are the media types of bodies, by method: of a POST as its refusal names them, of a PATCH as OpenAPI does.
func takes(t *testing.T, s *subject) map[string][]string {
	t.Helper()
	body, head, err := send(t, s, call{method: "POST", url: harness.Collection(namespace), contentType: "text/none",
		body: "{}"})
	if err != nil || head.code != 415 {
		t.Fatalf("a media type that is none: %d %s %v", head.code, body, err)
	}
	var document struct {
		Paths map[string]map[string]json.RawMessage
	}
	openAPI, head, err := send(t, s, call{method: "GET", url: "/openapi/v3/apis/secret.grafana.app/v1beta1",
		accept: "application/json"})
	if err != nil || head.code != 200 || json.Unmarshal(openAPI, &document) != nil {
		t.Fatalf("OpenAPI: %d %v", head.code, err)
	}
	var patch struct {
		RequestBody struct{ Content map[string]any }
	}
	one := "/apis/secret.grafana.app/v1beta1/namespaces/{namespace}/securevalues/{name}"
	if err := json.Unmarshal(document.Paths[one]["patch"], &patch); err != nil {
		t.Fatalf("OpenAPI has no PATCH of %s: %v", one, err)
	}
	return map[string][]string{"POST": mediaTypes.FindAllString(string(body), -1),
		"PATCH": slices.Collect(maps.Keys(patch.RequestBody.Content))}
}

func sends(method, mediaType string) bool {
	for _, v := range verbs {
		for _, types := range v.types {
			if v.method == method && slices.Contains(types, mediaType) {
				return true
			}
		}
	}
	return false
}

// discovered are the verbs of everything that the server serves, by resource.
func discovered(t *testing.T, s *subject) map[string][]string {
	t.Helper()
	get := func(url string, into any) {
		t.Helper()
		body, head, err := send(t, s, call{method: "GET", url: url, accept: "application/json"})
		if err != nil || head.code != 200 {
			t.Fatalf("%s: %d %v", url, head.code, err)
		}
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatal(err)
		}
	}
	var groups struct {
		Groups []struct {
			Versions []struct{ GroupVersion string }
		}
	}
	get("/apis", &groups)
	found := map[string][]string{}
	for _, group := range groups.Groups {
		for _, version := range group.Versions {
			var list struct {
				Resources []struct {
					Name  string
					Verbs []string
				}
			}
			get("/apis/"+version.GroupVersion, &list)
			for _, resource := range list.Resources {
				found[resource.Name] = append(found[resource.Name], resource.Verbs...)
			}
		}
	}
	if len(found["securevalues"]) < 8 {
		t.Errorf("discovery names %v", found)
	}
	return found
}

// sinks are the flags that say where the server writes, each with how that is searched.
var sinks = map[string]string{
	"data-dir":               "searched whole, running and stopped",
	"audit-log-path":         "beside the server's log, at level RequestResponse",
	"decrypt-audit-log-path": "in the data folder; in its own folder in a cluster",
	"v":                      "the log, at 10", "vmodule": "the log, at 10",
	"logging-format":      "text standalone, JSON in a cluster",
	"tracing-config-file": "every request is traced; what the collector received is searched as a file",
}

// sources are flags with one of sinkWords in their name that write nothing.
var sources = []string{
	"audit-log-maxage", "audit-log-maxbackup", "audit-log-maxsize", "audit-policy-file", "decrypt-audit-fsync",
	"decrypt-audit-instance",
	"decrypt-audit-key-file", "decrypt-audit-log-maxage", "decrypt-audit-log-maxbackup", "decrypt-audit-log-maxsize",
	"client-ca-file", "decrypt-client-ca-file", "data-dir-min-free",
	"encryption-provider-config", "encryption-provider-config-automatic-reload", "etcd-cafile", "etcd-certfile",
	"etcd-keyfile", "log-flush-frequency",
	"rbac-dir", "tls-cert-file", "tls-private-key-file", "token-auth-file",
}

// commands are what the binary does beside serving, each with the test that searches its output.
var commands = map[string]string{
	"audit verify":  "pkg/testing/security, TestIncident04FailingCommandsPrintNoSecret; an audit log has no value",
	"keys check":    "pkg/testing/security, TestIncident04FailingCommandsPrintNoSecret; opens nothing",
	"keys retire":   "pkg/testing/security, TestIncident04FailingCommandsPrintNoSecret; opens nothing",
	"keys report":   "pkg/testing/security, TestIncident04FailingCommandsPrintNoSecret; opens nothing",
	"backup":        "pkg/tools/backup: a backup holds records as they are stored",
	"backup verify": "pkg/tools/backup",
	"restore":       "pkg/tools/backup",
	"grant":         "pkg/standalone, TestGrantAndRevoke; pkg/testing/process, TestGrantWhileTheServerRuns",
	"revoke":        "pkg/standalone, TestGrantAndRevoke; reads no value",
}

// agentCommands are those of secret-agent.
var agentCommands = map[string]string{
	"fetch": "pkg/testing/agent searches the output of every agent that it starts",
	"run":   "pkg/testing/agent, also environ and cmdline in /proc",
	"serve": "pkg/testing/agent, also environ in /proc",
	"ready": "pkg/testing/agent; reads no value",
	"csi":   "pkg/testing/agent, also its metrics and errors, and hack/e2e",
}

// TestEveryAgentCommandIsSearched: if you add a command, search its output.
func TestEveryAgentCommandIsSearched(t *testing.T) {
	help, err := exec.CommandContext(t.Context(), harness.AgentBinary(t), "--help").CombinedOutput()
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(help), "Available Commands:\n")
	found := 0
	for line := range strings.Lines(list) {
		if strings.TrimSpace(line) == "" {
			break
		}
		name := strings.Fields(line)[0]
		if found++; name != "help" && agentCommands[name] == "" {
			t.Errorf("nothing searches the output of secret-agent %s", name)
		}
	}
	if found <= len(agentCommands) {
		t.Errorf("%d commands in the help:\n%s", found, help)
	}
}

var (
	flagLine    = regexp.MustCompile(`(?m)^ +(?:-\w, )?--([a-z0-9-]+)`)
	commandLine = regexp.MustCompile(`(?m)^  secret-apiserver ([a-z]+(?: [a-z]+)?) {2,}\S`)
	sinkWords   = regexp.MustCompile(`log|audit|trac|prof|debug|dump|output|dir|file|path|event|metric|export|` +
		`backup|snapshot|provider-config|^v$|vmodule|report|endpoint|socket`)
)

// TestEverySinkIsSearched goes through the flags and commands of the binary. If you add a place that the server
// writes to, add it to sinks, and to what the driver searches.
func TestEverySinkIsSearched(t *testing.T) {
	// pkg/testing/process compares it with the binary's
	help := string(harness.ReadFile(t, harness.Root(t)+"/pkg/server/testdata/help.txt"))
	flags := map[string]bool{}
	for _, match := range flagLine.FindAllStringSubmatch(help, -1) {
		flags[match[1]] = true
	}
	if len(flags) < 50 {
		t.Errorf("only %d flags were found", len(flags))
	}
	for name := range flags {
		if _, ok := sinks[name]; sinkWords.MatchString(name) && !ok && !slices.Contains(sources, name) {
			t.Errorf("--%s may be a place that the server writes to: add it to sinks and search it, or to sources",
				name)
		}
	}
	for _, name := range slices.Concat(sources, slices.Collect(maps.Keys(sinks))) {
		if !flags[name] {
			t.Errorf("--%s is listed, and is not a flag", name)
		}
	}
	var unknown []string
	for _, match := range commandLine.FindAllStringSubmatch(help, -1) {
		if commands[match[1]] == "" {
			unknown = append(unknown, match[1])
		}
	}
	if diff := cmp.Diff([]string(nil), unknown); diff != "" {
		t.Errorf("commands whose output nothing searches: %s", diff)
	}
}
