// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
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
		{"verb is no prefix", rule(l("delete"), l(group), l("securevalues"), nil), "deletecollection", "securevalues", "", "", false},
		{"other group", rule(l("get"), l("apps"), l("securevalues"), nil), "get", "securevalues", "", "", false},
		{"core group", rule(l("get"), l(""), l("securevalues"), nil), "get", "securevalues", "", "", false},
		{"group star", rule(l("get"), l("*"), l("securevalues"), nil), "get", "securevalues", "", "", true},
		{"other resource", rule(l("get"), l(group), l("decrypters"), nil), "get", "securevalues", "", "", false},
		{"resource star", rule(l("get"), l(group), l("*"), nil), "get", "securevalues", "", "", true},
		{"resource star covers subresource", rule(l("get"), l(group), l("*"), nil), "get", "securevalues", "rewrap", "", true},
		{"resource leaves out subresource", rule(l("get"), l(group), l("securevalues"), nil), "get", "securevalues", "rewrap", "", false},
		{"subresource", rule(l("get"), l(group), l("securevalues/rewrap"), nil), "get", "securevalues", "rewrap", "", true},
		{"subresource leaves out resource", rule(l("get"), l(group), l("securevalues/rewrap"), nil), "get", "securevalues", "", "", false},
		{"other subresource", rule(l("get"), l(group), l("securevalues/status"), nil), "get", "securevalues", "rewrap", "", false},
		{"subresource of other resource", rule(l("get"), l(group), l("others/rewrap"), nil), "get", "securevalues", "rewrap", "", false},
		{"star subresource", rule(l("get"), l(group), l("*/rewrap"), nil), "get", "securevalues", "rewrap", "", true},
		{"star other subresource", rule(l("get"), l(group), l("*/status"), nil), "get", "securevalues", "rewrap", "", false},
		{"star subresource leaves out resource", rule(l("get"), l(group), l("*/rewrap"), nil), "get", "securevalues", "", "", false},
		{"resource slash star is no wildcard", rule(l("get"), l(group), l("securevalues/*"), nil), "get", "securevalues", "rewrap", "", false},
		{"suffix without slash", rule(l("get"), l(group), l("xrewrap"), nil), "get", "x", "rewrap", "", false},
		{"subresource alone", rule(l("get"), l(group), l("rewrap"), nil), "get", "securevalues", "rewrap", "", false},
		{"slash in the resource", rule(l("get"), l(group), l("a/b/c"), nil), "get", "a/b", "c", "", true},
		{"name", rule(l("get"), l(group), l("securevalues"), l("a", "b")), "get", "securevalues", "", "b", true},
		{"other name", rule(l("get"), l(group), l("securevalues"), l("a", "b")), "get", "securevalues", "", "c", false},
		{"no name", rule(l("list"), l(group), l("securevalues"), l("a")), "list", "securevalues", "", "", false},
		{"name star is no wildcard", rule(l("get"), l(group), l("securevalues"), l("*")), "get", "securevalues", "", "c", false},
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
