// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"os"
	"path/filepath"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

const group = "secret.grafana.app"

// writeFile puts a file in a folder the way editors do: a new file that takes the old one's name.
func writeFile(t *testing.T, dir, name, text string) {
	t.Helper()
	temporary := filepath.Join(dir, "."+name+".tmp")
	if err := os.WriteFile(temporary, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temporary, filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

// mustLoad loads manifests given as name and text.
func mustLoad(t *testing.T, files map[string]string) *Snapshot {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		writeFile(t, dir, name, text)
	}
	snapshot, err := Load(dir)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return snapshot
}

func person(name string, groups ...string) user.Info {
	return &user.DefaultInfo{Name: name, Groups: groups}
}

// ask is a request for a resource of this project, "securevalues" or "securevalues/rewrap".
func ask(who user.Info, verb, namespace, resource, subresource, name string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{
		User: who, Verb: verb, Namespace: namespace, APIGroup: group, APIVersion: "v1beta1",
		Resource: resource, Subresource: subresource, Name: name, ResourceRequest: true,
	}
}

func askURL(who user.Info, verb, path string) authorizer.AttributesRecord {
	return authorizer.AttributesRecord{User: who, Verb: verb, Path: path}
}

func allowed(t *testing.T, a authorizer.Authorizer, request authorizer.Attributes) bool {
	t.Helper()
	decision, _, err := a.Authorize(t.Context(), request)
	if err != nil {
		t.Fatalf("Authorize: %v", err)
	}
	if decision == authorizer.DecisionDeny {
		t.Fatal("Authorize denied; RBAC only allows or has no opinion")
	}
	return decision == authorizer.DecisionAllow
}

func rule(verbs, groups, resources, names []string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: verbs, APIGroups: groups, Resources: resources, ResourceNames: names}
}
