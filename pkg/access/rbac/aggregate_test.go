// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func plain(name, label string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{label: "true"}}, Rules: rules}
}

func aggregating(role *rbacv1.ClusterRole, labels ...string) *rbacv1.ClusterRole {
	role.AggregationRule = &rbacv1.AggregationRule{}
	for _, label := range labels {
		role.AggregationRule.ClusterRoleSelectors = append(role.AggregationRule.ClusterRoleSelectors,
			metav1.LabelSelector{MatchLabels: map[string]string{label: "true"}})
	}
	return role
}

func TestAggregation(t *testing.T) {
	verb := func(v string) rbacv1.PolicyRule {
		return rule([]string{v}, []string{group}, []string{"securevalues"}, nil)
	}
	roles := []*rbacv1.ClusterRole{
		plain("get", "to-view", verb("get")),
		plain("get-again", "to-view", verb("get")),
		plain("list", "to-view", verb("list")),
		plain("update", "to-edit", verb("update")),
		plain("unselected", "to-nothing", verb("delete")),
		aggregating(plain("view", "to-edit"), "to-view"),
		aggregating(plain("edit", "to-admin", verb("patch")), "to-edit"), // its own rule is replaced
		aggregating(plain("admin", "x"), "to-admin", "to-view"),
		aggregating(plain("circle-a", "to-b", verb("delete")), "to-a"),
		aggregating(plain("circle-b", "to-a"), "to-b", "to-view"),
		aggregating(plain("itself", "to-itself", verb("delete")), "to-itself"),
	}
	for name, want := range map[string]string{
		"view":     "get list",
		"edit":     "update get list",
		"admin":    "update get list",
		"circle-a": "get list",
		"circle-b": "get list",
		"itself":   "",
		"get":      "get",
	} {
		objects := Objects{ClusterRoles: roles, ClusterRoleBindings: []*rbacv1.ClusterRoleBinding{{
			ObjectMeta: metav1.ObjectMeta{Name: "b"},
			RoleRef:    rbacv1.RoleRef{Kind: "ClusterRole", Name: name},
			Subjects:   []rbacv1.Subject{{Kind: "User", Name: "u"}},
		}}}
		snapshot, err := NewSnapshot(objects)
		if err != nil {
			t.Fatal(err)
		}
		a := New(NewStore(snapshot))
		for _, v := range []string{"get", "list", "update", "patch", "delete"} {
			granted := strings.Contains(" "+want+" ", " "+v+" ")
			if allowed(t, a, ask(person("u"), v, "n", "securevalues", "", "x")) != granted {
				t.Errorf("%s, %s: want %v", name, v, granted)
			}
		}
		if rules, _, _, _ := a.RulesFor(t.Context(), person("u"), "n"); len(rules) != len(strings.Fields(want)) {
			t.Errorf("%s: %d rules, want %q each once", name, len(rules), want)
		}
	}
	if len(roles[6].Rules) != 1 || roles[6].Rules[0].Verbs[0] != "patch" {
		t.Error("NewSnapshot changed the caller's object")
	}
}

func TestNewSnapshotRefuses(t *testing.T) {
	twice := Objects{ClusterRoles: []*rbacv1.ClusterRole{plain("a", "x"), plain("a", "x")}}
	if _, err := NewSnapshot(twice); err == nil || !strings.Contains(err.Error(), `ClusterRole "a": is defined a second time`) {
		t.Errorf("got %v", err)
	}
	if _, err := NewSnapshot(Builtin()); err == nil || !strings.Contains(err.Error(), "is built in") {
		t.Errorf("got %v", err)
	}
}
