// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// manifest is a SecureValue as a person writes it.
func manifest(name, value string, lines ...string) string {
	return strings.Join(append([]string{
		"apiVersion: secret.grafana.app/v1beta1", "kind: SecureValue", "metadata: {name: " + name + "}",
		"spec:", "  description: made with kubectl", "  value: " + value,
	}, lines...), "\n")
}

// TestKubectl goes through what people do all day, in a real cluster.
func TestKubectl(t *testing.T) {
	namespace := newNamespace(t)
	value := harness.Canary()
	k := func(stdin string, args ...string) string {
		t.Helper()
		out := mustKubectl(t, stdin, append(args, "-n", namespace)...)
		if found := harness.Find([]byte(out), value); len(found) > 0 {
			t.Errorf("kubectl %v printed %v", args, found)
		}
		return out
	}
	expect := func(out string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("no %q in:\n%s", part, out)
			}
		}
	}

	expect(k(manifest("x", value), "create", "-f", "-"), "securevalue.secret.grafana.app/x created")
	expect(k("", "get", "sv", "x"), "NAME", "DESCRIPTION", "made with kubectl")
	expect(k("", "get", "securevalues.secret.grafana.app", "-o", "wide"), "KEEPER", "aesgcm/")
	expect(k("", "get", "sv", "x", "-o", "yaml"), "version: 1")
	expect(k("", "describe", "sv", "x"), "made with kubectl")
	expect(k("", "label", "sv", "x", "team=red"), "labeled")
	expect(k("", "get", "sv", "-l", "team=red", "-o", "name"), "securevalue.secret.grafana.app/x")
	expect(k("", "annotate", "sv", "x", "note=1"), "annotated")
	expect(k("", "patch", "sv", "x", "--type=merge", "-p", `{"spec":{"value":"`+value+`"}}`), "patched")
	expect(k("", "get", "sv", "x", "-o", "jsonpath={.status.version}"), "2")
	expect(k(manifest("applied", value), "apply", "-f", "-"), "created")
	expect(k(manifest("applied", value, "  decrypters: [k6-cloud]"), "apply", "-f", "-"), "configured")
	expect(k(manifest("served", value), "apply", "--server-side", "-f", "-"), "serverside-applied")
	expect(k(manifest("x", value), "replace", "-f", "-"), "replaced")
	expect(k("", "auth", "can-i", "create", "securevalues"), "yes")
	expect(k("", "explain", "securevalue.spec.value"), "Write-only")
	expect(k("", "api-resources", "--api-group=secret.grafana.app"), "securevalues", "sv", "true")
	expect(k("", "get", "sv", "--chunk-size=1"), "applied", "served", "x")
	expect(mustKubectl(t, "", "get", "sv", "-A"), namespace)
	expect(k("", "delete", "sv", "x"), "deleted")
	expect(k("", "delete", "sv", "--all"), "applied", "served")
	expect(k("", "get", "sv", "-o", "name"), "")
}

// TestKubectlAuthCanI asks for somebody without rights: kube-apiserver and we must agree.
func TestKubectlAuthCanI(t *testing.T) {
	namespace := newNamespace(t)
	newServiceAccount(t, namespace, "nobody")
	stdout, _, err := kubectl(t, "", "auth", "can-i", "get", "securevalues", "-n", namespace, "--as=system:serviceaccount:"+namespace+":nobody")
	if err == nil || strings.TrimSpace(stdout) != "no" {
		t.Errorf("got %q (%v), want no", stdout, err)
	}
}
