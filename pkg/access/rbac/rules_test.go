// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func covered(a authorizer.Attributes, rule *rbacv1.PolicyRule) bool {
	r := requestOf(a)
	return r.coveredBy(rule)
}

func TestRuleAllowsResources(t *testing.T) {
	l := func(s ...string) []string { return s }
	for _, tc := range []struct {
		name                        string
		rule                        rbacv1.PolicyRule
		verb, resource, sub, object string
		want                        bool
	}{
		{"exact", rule(l("get"), l(group), l("securevalues"), nil), "get", "securevalues", "", "", true},
		{"other verb", rule(l("get"), l(group), l("securevalues"), nil), "list", "securevalues", "", "", false},
		{"verb star", rule(l("*"), l(group), l("securevalues"), nil), "list", "securevalues", "", "", true},
		{"verb is not a prefix", rule(l("delete"), l(group), l("securevalues"), nil), "deletecollection",
			"securevalues", "", "", false},
		{"other group", rule(l("get"), l("apps"), l("securevalues"), nil), "get", "securevalues", "", "", false},
		{"core group", rule(l("get"), l(""), l("securevalues"), nil), "get", "securevalues", "", "", false},
		{"group star", rule(l("get"), l("*"), l("securevalues"), nil), "get", "securevalues", "", "", true},
		{"other resource", rule(l("get"), l(group), l("decrypters"), nil), "get", "securevalues", "", "", false},
		{"resource star", rule(l("get"), l(group), l("*"), nil), "get", "securevalues", "", "", true},
		{"resource star covers subresource", rule(l("get"), l(group), l("*"), nil), "get", "securevalues", "rewrap", "",
			true},
		{"resource does not cover subresource", rule(l("get"), l(group), l("securevalues"), nil), "get", "securevalues",
			"rewrap", "", false},
		{"subresource", rule(l("get"), l(group), l("securevalues/rewrap"), nil), "get", "securevalues", "rewrap", "",
			true},
		{"subresource does not cover resource", rule(l("get"), l(group), l("securevalues/rewrap"), nil), "get",
			"securevalues", "", "", false},
		{"other subresource", rule(l("get"), l(group), l("securevalues/status"), nil), "get", "securevalues", "rewrap",
			"", false},
		{"subresource of other resource", rule(l("get"), l(group), l("others/rewrap"), nil), "get", "securevalues",
			"rewrap", "", false},
		{"star subresource", rule(l("get"), l(group), l("*/rewrap"), nil), "get", "securevalues", "rewrap", "", true},
		{"star other subresource", rule(l("get"), l(group), l("*/status"), nil), "get", "securevalues", "rewrap", "",
			false},
		{"star subresource does not cover resource", rule(l("get"), l(group), l("*/rewrap"), nil), "get",
			"securevalues", "", "", false},
		{"resource slash star is not a wildcard", rule(l("get"), l(group), l("securevalues/*"), nil), "get",
			"securevalues", "rewrap", "", false},
		{"suffix without slash", rule(l("get"), l(group), l("xrewrap"), nil), "get", "x", "rewrap", "", false},
		{"subresource alone", rule(l("get"), l(group), l("rewrap"), nil), "get", "securevalues", "rewrap", "", false},
		{"slash in the resource", rule(l("get"), l(group), l("a/b/c"), nil), "get", "a/b", "c", "", true},
		{"name", rule(l("get"), l(group), l("securevalues"), l("a", "b")), "get", "securevalues", "", "b", true},
		{"other name", rule(l("get"), l(group), l("securevalues"), l("a", "b")), "get", "securevalues", "", "c", false},
		{"no name", rule(l("list"), l(group), l("securevalues"), l("a")), "list", "securevalues", "", "", false},
		{"name star is not a wildcard", rule(l("get"), l(group), l("securevalues"), l("*")), "get", "securevalues", "",
			"c", false},
		{"url rule", rbacv1.PolicyRule{Verbs: l("*"), NonResourceURLs: l("*")}, "get", "securevalues", "", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := covered(ask(nil, tc.verb, "ns", tc.resource, tc.sub, tc.object), &tc.rule); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestRuleAllowsURLs(t *testing.T) {
	for _, tc := range []struct {
		url, verb, path string
		want            bool
	}{
		{"/metrics", "get", "/metrics", true},
		{"/metrics", "post", "/metrics", false},
		{"/metrics", "get", "/metrics/", false},
		{"/metrics", "get", "/metric", false},
		{"/apis/*", "get", "/apis/secret.grafana.app", true},
		{"/apis/*", "get", "/apis/", true},
		{"/apis/*", "get", "/apis", false},
		{"/apis*", "get", "/apisomething", true},
		{"/apis/**", "get", "/apis/x", true},
		{"/*/metrics", "get", "/x/metrics", false},
		{"*", "get", "/anything", true},
	} {
		r := rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{tc.url}}
		if got := covered(askURL(nil, tc.verb, tc.path), &r); got != tc.want {
			t.Errorf("rule %q, %s %s: got %v, want %v", tc.url, tc.verb, tc.path, got, tc.want)
		}
	}
	resources := rule([]string{"*"}, []string{"*"}, []string{"*"}, nil)
	if covered(askURL(nil, "get", "/metrics"), &resources) {
		t.Error("a resource rule allows a path")
	}
}

func plain(name, label string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{label: "true"}},
		Rules: rules}
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
		aggregating(plain("edit", "to-admin", verb("patch")), "to-edit"), // its rule is replaced
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
		snapshot, err := build(objects.items(), nil)
		if err != nil {
			t.Fatal(err)
		}
		a := New(snapshot)
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
}
