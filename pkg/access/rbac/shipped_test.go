// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const config = "../../../config"

var allVerbs = []string{"create", "get", "list", "watch", "update", "patch", "delete", "deletecollection", "extend",
	"decrypt", "use"}

// shippedRoles reads the roles for users in config/rbac: one ClusterRole a file.
func shippedRoles(t *testing.T) []*rbacv1.ClusterRole {
	t.Helper()
	return rolesIn(t, "clusterrole-", "secret.grafana.app:securevalues-")
}

// rolesIn reads the files of config/rbac whose names begin with file. Each holds the role that it is named after.
func rolesIn(t *testing.T, file, role string) []*rbacv1.ClusterRole {
	t.Helper()
	files, err := readDir(filepath.Join(config, "rbac"))
	if err != nil {
		t.Fatal(err)
	}
	var roles []*rbacv1.ClusterRole
	for _, f := range files {
		if !strings.HasPrefix(filepath.Base(f.path), file) {
			continue
		}
		items, errs := decodeFile(f)
		if len(errs) > 0 || len(items) != 1 || items[0].key.kind != kindClusterRole {
			t.Fatalf("%s: want one ClusterRole, got %d objects, %v", f.path, len(items), errs)
		}
		short := strings.TrimPrefix(items[0].key.name, role)
		if want := strings.TrimSuffix(file, short) + short + ".yaml"; filepath.Base(f.path) != want {
			t.Errorf("%s holds ClusterRole %q", f.path, items[0].key.name)
		}
		roles = append(roles, &rbacv1.ClusterRole{ObjectMeta: *items[0].meta, Rules: items[0].role.rules})
	}
	return roles
}

func TestShippedRoles(t *testing.T) {
	const prefix = "rbac.authorization.k8s.io/aggregate-to-"
	want := map[string]struct{ verbs, aggregate string }{
		"creator": {"create", "admin edit"},
		"reader":  {"get list watch", "admin view"},
		"writer":  {"update patch", "admin edit"},
		"deleter": {"delete deletecollection", "admin edit"},
		"admin":   {"create get list watch update patch delete deletecollection", "admin"},
		// A namespace admin mints tokens of ServiceAccounts there: with extend it would be a reader.
		"extender": {"extend", ""},
	}
	roles := shippedRoles(t)
	if len(roles) != len(want) {
		t.Errorf("%d roles are shipped, want %d", len(roles), len(want))
	}
	for _, role := range roles {
		w, ok := want[strings.TrimPrefix(role.Name, "secret.grafana.app:securevalues-")]
		if !ok {
			t.Errorf("ClusterRole %q is not in the contract", role.Name)
			continue
		}
		var aggregate []string
		for label, value := range role.Labels {
			if to, ok := strings.CutPrefix(label, prefix); ok && value == "true" {
				aggregate = append(aggregate, to)
			}
		}
		slices.Sort(aggregate)
		if got := strings.Join(aggregate, " "); got != w.aggregate {
			t.Errorf("%s aggregates to %q, want %q", role.Name, got, w.aggregate)
		}
		if len(role.Rules) != 1 {
			t.Fatalf("%s has %d rules, want 1", role.Name, len(role.Rules))
		}
		r := role.Rules[0]
		if got := strings.Join(r.Verbs, " "); got != w.verbs {
			t.Errorf("%s has verbs %q, want %q", role.Name, got, w.verbs)
		}
		if !slices.Equal(r.APIGroups, []string{group}) || !slices.Equal(r.Resources, []string{"securevalues"}) ||
			len(r.ResourceNames) > 0 {
			t.Errorf("%s covers more or less than the securevalues: %v", role.Name, r)
		}
	}
}

// TestShippedDecrypterRoles asks that each opens the values of one decrypter, and that no other role holds any of it.
func TestShippedDecrypterRoles(t *testing.T) {
	want := map[string]string{
		"k6-cloud": "k6-cloud", "provisioning": "provisioning.grafana.app",
		"synthetic-monitoring": "synthetic-monitoring",
	}
	roles := rolesIn(t, "decrypter-", "secret.grafana.app:decrypter-")
	if len(roles) != len(want) {
		t.Errorf("%d roles are shipped, want %d", len(roles), len(want))
	}
	for _, role := range roles {
		if len(role.Labels) > 0 {
			t.Errorf("%s has labels and may aggregate: %v", role.Name, role.Labels)
		}
		rules := []rbacv1.PolicyRule{
			{APIGroups: []string{group}, Resources: []string{"securevalues"}, Verbs: []string{"decrypt"}},
			{APIGroups: []string{group}, Resources: []string{"decrypters"}, Verbs: []string{"use"},
				ResourceNames: []string{want[strings.TrimPrefix(role.Name, "secret.grafana.app:decrypter-")]}},
		}
		if diff := cmp.Diff(rules, role.Rules); diff != "" {
			t.Errorf("%s:\n%s", role.Name, diff)
		}
	}
}

// TestShippedGranterRole binds the decrypter roles and nothing else, and aggregates to none.
func TestShippedGranterRole(t *testing.T) {
	roles := rolesIn(t, "granter", "secret.grafana.app:decrypter-")
	var decrypters []string
	for _, role := range rolesIn(t, "decrypter-", "secret.grafana.app:decrypter-") {
		decrypters = append(decrypters, role.Name)
	}
	want := []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, Verbs: []string{"bind"},
			ResourceNames: decrypters},
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"rolebindings"},
			Verbs: []string{"get", "list", "create", "patch", "delete"}},
	}
	if len(roles) != 1 || len(roles[0].Labels) > 0 {
		t.Fatalf("roles are %v", roles)
	}
	if diff := cmp.Diff(want, roles[0].Rules); diff != "" {
		t.Error(diff)
	}
}

// TestShippedRolesAggregate puts the shipped roles beside the view, edit and admin of Kubernetes.
func TestShippedRolesAggregate(t *testing.T) {
	objects := Objects{ClusterRoles: shippedRoles(t)}
	for name, label := range map[string]string{"view": "edit", "edit": "admin", "admin": "none"} {
		role := aggregating(plain(name, "rbac.authorization.k8s.io/aggregate-to-"+label),
			"rbac.authorization.k8s.io/aggregate-to-"+name)
		objects.ClusterRoles = append(objects.ClusterRoles, role)
		objects.ClusterRoleBindings = append(objects.ClusterRoleBindings, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{Kind: kindClusterRole, Name: name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: name}},
		})
	}
	snapshot, err := build(objects.items(), nil)
	if err != nil {
		t.Fatal(err)
	}
	wantVerbs(t, snapshot, map[string]string{
		"view":  "get list watch",
		"edit":  "create get list watch update patch delete deletecollection",
		"admin": "create get list watch update patch delete deletecollection",
	})
}

func TestShippedSampleBindings(t *testing.T) {
	files := map[string]string{}
	for _, pattern := range []string{"rbac/*.yaml", "samples/rbac-bindings.yaml"} {
		paths, err := filepath.Glob(filepath.Join(config, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %v, %v", pattern, paths, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files[filepath.Base(path)] = string(text)
		}
	}
	wantVerbs(t, mustLoad(t, files), map[string]string{
		"jane":                              "delete deletecollection",
		"group:viewers":                     "get list watch",
		"group:platform-team":               "create get list watch update patch delete deletecollection",
		"system:serviceaccount:ci:pipeline": "create update patch",
	})
}

// wantVerbs asks for every verb in namespace default, for users and, behind "group:", members of groups.
func wantVerbs(t *testing.T, snapshot *Snapshot, want map[string]string) {
	t.Helper()
	a := New(snapshot)
	for name, verbs := range want {
		who := person(name)
		if member, ok := strings.CutPrefix(name, "group:"); ok {
			who = person("somebody", member)
		}
		for _, verb := range allVerbs {
			granted := slices.Contains(strings.Fields(verbs), verb)
			if allowed(t, a, ask(who, verb, "default", "securevalues", "", "x")) != granted {
				t.Errorf("%s may %s: want %v", name, verb, granted)
			}
		}
	}
}
