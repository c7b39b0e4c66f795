// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

const policy = `
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: reader}
rules:
- {apiGroups: [secret.grafana.app], resources: [securevalues], verbs: [get, list]}
- {nonResourceURLs: [/metrics], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: one, namespace: team}
rules:
- {apiGroups: [secret.grafana.app], resources: [securevalues], resourceNames: [db], verbs: [update]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: everywhere}
roleRef: {kind: ClusterRole, name: reader}
subjects:
- {kind: User, name: ann}
- {kind: Group, name: ops}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: here, namespace: team}
roleRef: {kind: ClusterRole, name: reader}
subjects:
- {kind: User, name: bob}
- {kind: ServiceAccount, name: robot}
- {kind: ServiceAccount, name: robot, namespace: ci}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: one, namespace: team}
roleRef: {kind: Role, name: one}
subjects:
- {kind: Group, name: editors}
- {kind: User, name: bob}
`

func TestAuthorize(t *testing.T) {
	a := New(mustLoad(t, map[string]string{"policy.yaml": policy}))
	for _, tc := range []struct {
		name    string
		request authorizer.AttributesRecord
		want    bool
	}{
		{"user, cluster", ask(person("ann"), "get", "any", "securevalues", "", "x"), true},
		{"user, all namespaces", ask(person("ann"), "list", "", "securevalues", "", ""), true},
		{"user, url", askURL(person("ann"), "get", "/metrics"), true},
		{"user, verb not granted", ask(person("ann"), "delete", "any", "securevalues", "", "x"), false},
		{"group, cluster", ask(person("cat", "other", "ops"), "get", "any", "securevalues", "", "x"), true},
		{"group name is not a user name", ask(person("ops"), "get", "any", "securevalues", "", "x"), false},
		{"user name is not a group name", ask(person("cat", "ann"), "get", "any", "securevalues", "", "x"), false},
		{"nobody", ask(person("dan"), "get", "any", "securevalues", "", "x"), false},
		{"empty user", ask(person(""), "get", "team", "securevalues", "", "x"), false},
		{"namespaced", ask(person("bob"), "get", "team", "securevalues", "", "x"), true},
		{"namespaced, elsewhere", ask(person("bob"), "get", "other", "securevalues", "", "x"), false},
		{"namespaced, all namespaces", ask(person("bob"), "list", "", "securevalues", "", ""), false},
		{"namespaced binding gives no url", askURL(person("bob"), "get", "/metrics"), false},
		{"service account of the binding's namespace",
			ask(person("system:serviceaccount:team:robot"), "get", "team", "securevalues", "", "x"), true},
		{"service account of a named namespace", ask(person("system:serviceaccount:ci:robot"), "get", "team",
			"securevalues", "", "x"), true},
		{"service account of another namespace", ask(person("system:serviceaccount:evil:robot"), "get", "team",
			"securevalues", "", "x"), false},
		{"service account's short name", ask(person("robot"), "get", "team", "securevalues", "", "x"), false},
		{"role, name", ask(person("eve", "editors"), "update", "team", "securevalues", "", "db"), true},
		{"role, other name", ask(person("eve", "editors"), "update", "team", "securevalues", "", "mail"), false},
		{"role, other namespace", ask(person("eve", "editors"), "update", "other", "securevalues", "", "db"), false},
		{"no privileged group", ask(person("root", user.SystemPrivilegedGroup), "get", "team", "securevalues", "",
			"db"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := allowed(t, a, tc.request); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			if got := a.ConditionsAwareAuthorize(t.Context(), tc.request).IsAllow(); got != tc.want {
				t.Errorf("conditions aware: got %v, want %v", got, tc.want)
			}
		})
	}
}

func TestReasonNamesTheBinding(t *testing.T) {
	a := New(mustLoad(t, map[string]string{"policy.yaml": policy}))
	robot := "system:serviceaccount:%s:robot"
	for _, tc := range []struct{ caller, group, verb, name, want string }{
		{"cat", "ops", "get", "x",
			`RBAC: allowed by ClusterRoleBinding "everywhere" of ClusterRole "reader" to Group "ops"`},
		{fmt.Sprintf(robot, "ci"), "", "get", "x",
			`RBAC: allowed by RoleBinding "here/team" of ClusterRole "reader" to ServiceAccount "robot/ci"`},
		{fmt.Sprintf(robot, "team"), "", "get", "x",
			`RBAC: allowed by RoleBinding "here/team" of ClusterRole "reader" to ServiceAccount "robot/team"`},
		{"bob", "", "update", "db", `RBAC: allowed by RoleBinding "one/team" of Role "one" to User "bob"`},
		{"dan", "", "get", "x", ""},
	} {
		request := ask(person(tc.caller, tc.group), tc.verb, "team", "securevalues", "", tc.name)
		if _, reason, err := a.Authorize(t.Context(), request); reason != tc.want || err != nil {
			t.Errorf("got %q, %v; want %q", reason, err, tc.want)
		}
	}
}

func TestRequestWithoutUserIsAnError(t *testing.T) {
	rbac, standalone := New(mustLoad(t, nil)), NewStandalone(New(mustLoad(t, nil)))
	for _, a := range []authorizer.Authorizer{rbac, standalone} {
		decision, _, err := a.Authorize(t.Context(), ask(nil, "get", "", "securevalues", "", ""))
		if decision == authorizer.DecisionAllow || err == nil {
			t.Errorf("%T: got %v, %v", a, decision, err)
		}
	}
	for _, r := range []authorizer.RuleResolver{rbac, standalone} {
		if _, _, _, err := r.RulesFor(t.Context(), nil, "x"); err == nil {
			t.Errorf("%T: RulesFor gave no error", r)
		}
	}
}

func TestConditionsFailClosed(t *testing.T) {
	for _, a := range []authorizer.Authorizer{New(mustLoad(t, nil)), NewStandalone(New(mustLoad(t, nil)))} {
		decision, _, err := a.EvaluateConditions(t.Context(), authorizer.ConditionsAwareDecision{}, nil)
		if decision != authorizer.DecisionDeny || !errors.Is(err, authorizer.ErrorConditionEvaluationNotSupported) {
			t.Errorf("%T: got %v, %v", a, decision, err)
		}
	}
}

func TestStandalonePrivilegedGroup(t *testing.T) {
	a := NewStandalone(New(mustLoad(t, map[string]string{"policy.yaml": policy})))
	root := person("root", "x", user.SystemPrivilegedGroup)
	if !allowed(t, a, ask(root, "delete", "any", "securevalues", "", "x")) ||
		!allowed(t, a, askURL(root, "get", "/metrics")) {
		t.Error("system:masters is not privileged")
	}
	if !a.ConditionsAwareAuthorize(t.Context(), askURL(root, "get", "/metrics")).IsAllow() {
		t.Error("system:masters is not privileged on the conditions-aware path")
	}
	if allowed(t, a, ask(person(user.SystemPrivilegedGroup), "get", "any", "securevalues", "", "x")) {
		t.Error("a user named like the group is privileged")
	}
	if !allowed(t, a, ask(person("bob"), "get", "team", "securevalues", "", "x")) ||
		allowed(t, a, ask(person("bob"), "get", "x", "securevalues", "", "x")) {
		t.Error("RBAC is not asked about everybody else")
	}
	resources, urls, _, err := a.RulesFor(t.Context(), root, "any")
	if err != nil || len(resources) != 1 || !slices.Equal(resources[0].GetVerbs(), []string{"*"}) || len(urls) != 1 {
		t.Errorf("rules of system:masters: %v, %v, %v", resources, urls, err)
	}
	if resources, _, _, _ = a.RulesFor(t.Context(), person("bob"), "team"); len(resources) != 2 {
		t.Errorf("rules of bob: %d, want 2", len(resources))
	}
}

func TestRulesFor(t *testing.T) {
	a := New(mustLoad(t, map[string]string{"policy.yaml": policy}))
	for _, tc := range []struct {
		who             user.Info
		namespace       string
		resources, urls int
	}{
		{person("ann"), "team", 1, 1},
		{person("ann", "ops"), "team", 1, 1}, // one binding by two subjects counts once
		{person("bob"), "team", 2, 1},
		{person("bob"), "other", 0, 0},
		{person("bob"), "", 0, 0},
		{person("dan", user.AllAuthenticated), "team", 3, 2},
	} {
		resources, urls, incomplete, err := a.RulesFor(t.Context(), tc.who, tc.namespace)
		if len(resources) != tc.resources || len(urls) != tc.urls || incomplete || err != nil {
			t.Errorf("%v in %q: %d resource rules, %d url rules, %v, %v; want %d and %d",
				tc.who, tc.namespace, len(resources), len(urls), incomplete, err, tc.resources, tc.urls)
		}
	}
}

func TestBuiltinRoles(t *testing.T) {
	a := New(mustLoad(t, nil))
	somebody := person("x", user.AllAuthenticated)
	nobody := person(user.Anonymous, user.AllUnauthenticated)
	review := func(who user.Info, group, resource string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{User: who, Verb: "create", APIGroup: group, Resource: resource,
			ResourceRequest: true}
	}
	for _, tc := range []struct {
		request authorizer.AttributesRecord
		want    bool
	}{
		{askURL(somebody, "get", "/apis"), true},
		{askURL(somebody, "get", "/apis/secret.grafana.app/v1beta1"), true},
		{askURL(somebody, "get", "/openapi/v3"), true},
		{askURL(somebody, "get", "/readyz"), true},
		{askURL(somebody, "post", "/apis"), false},
		{askURL(somebody, "get", "/metrics"), false},
		{askURL(somebody, "get", "/debug/pprof"), false},
		{askURL(nobody, "get", "/version"), true},
		{askURL(nobody, "get", "/livez"), true},
		{askURL(nobody, "get", "/apis"), false},
		{askURL(person("x"), "get", "/livez"), false},
		{review(somebody, "authorization.k8s.io", "selfsubjectaccessreviews"), true},
		{review(somebody, "authorization.k8s.io", "selfsubjectrulesreviews"), true},
		{review(somebody, "authorization.k8s.io", "subjectaccessreviews"), false},
		{review(somebody, "authentication.k8s.io", "selfsubjectreviews"), true},
		{review(somebody, "authentication.k8s.io", "tokenreviews"), false},
		{review(nobody, "authentication.k8s.io", "selfsubjectreviews"), false},
		{ask(somebody, "get", "default", "securevalues", "", "x"), false},
	} {
		if got := allowed(t, a, tc.request); got != tc.want {
			t.Errorf("%s %s%s by %s: got %v, want %v", tc.request.Verb, tc.request.Path, tc.request.Resource,
				tc.request.User.GetName(), got, tc.want)
		}
	}
}

// TestDecisionDoesNotAllocate guards what BenchmarkAuthorize measures.
func TestDecisionDoesNotAllocate(t *testing.T) {
	a, request := benchmarkCase(t, 1000)
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() { _, _, _ = a.Authorize(ctx, request) }); n > 0 {
		t.Errorf("%v allocations a decision", n)
	}
}

// BenchmarkAuthorize must not depend on the number of namespaces with bindings.
func BenchmarkAuthorize(b *testing.B) {
	for _, namespaces := range []int{1, 100, 1000} {
		a, granted := benchmarkCase(b, namespaces)
		refused := ask(person("x", user.AllAuthenticated, "readers-0"), "delete", "ns-0", "securevalues", "", "one")
		for name, test := range map[string]struct {
			request authorizer.Attributes
			want    authorizer.Decision
		}{"allowed": {granted, authorizer.DecisionAllow}, "refused": {refused, authorizer.DecisionNoOpinion}} {
			b.Run(fmt.Sprintf("%s/namespaces=%d", name, namespaces), func(b *testing.B) {
				ctx := b.Context()
				b.ReportAllocs()
				for b.Loop() {
					if decision, _, _ := a.Authorize(ctx, test.request); decision != test.want {
						b.Fatalf("decided %v", decision)
					}
				}
			})
		}
	}
}

// benchmarkCase is a caller in the last of some namespaces, each with its own bindings.
func benchmarkCase(tb testing.TB, namespaces int) (authorizer.Authorizer, authorizer.Attributes) {
	tb.Helper()
	text := policy
	for i := range namespaces {
		text += fmt.Sprintf(`---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers, namespace: ns-%d}
roleRef: {kind: ClusterRole, name: reader}
subjects: [{kind: Group, name: readers-%d}, {kind: User, name: user-%d}]
`, i, i, i)
	}
	items, errs := decodeFile(file{path: "policy.yaml", data: []byte(text)})
	snapshot, err := build(items, errs)
	if err != nil {
		tb.Fatal(err)
	}
	last := fmt.Sprint(namespaces - 1)
	var request authorizer.Attributes = ask(person("x", user.AllAuthenticated, "readers-"+last), "list", "ns-"+last,
		"securevalues", "", "")
	return New(snapshot), request
}
