// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/kubernetes/pkg/registry/rbac/validation"
	upstream "k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
)

const (
	defaultPolicies = 6000
	requestsEach    = 500
	workers         = 4
)

// tally counts outcomes over all workers, to notice a run that compares only one kind of answer.
type tally struct{ allowed, refused, rules atomic.Int64 }

func TestAgreesWithKubernetes(t *testing.T) {
	seed := number(t, "ORACLE_SEED", time.Now().UnixNano())
	policies := number(t, "ORACLE_POLICIES", defaultPolicies)
	t.Logf("ORACLE_SEED=%d ORACLE_POLICIES=%d", seed, policies)

	var counts tally
	t.Run("workers", func(t *testing.T) {
		for worker := range workers {
			t.Run(strconv.Itoa(worker), func(t *testing.T) {
				t.Parallel()
				for i := int64(worker); i < policies && !t.Failed(); i += workers {
					comparePolicy(t, generator{rand.New(rand.NewPCG(uint64(seed), uint64(i)))}, &counts)
				}
			})
		}
	})
	allowed, refused, rules := counts.allowed.Load(), counts.refused.Load(), counts.rules.Load()
	t.Logf("%d allowed, %d refused, %d rules compared", allowed, refused, rules)
	if t.Failed() || policies < defaultPolicies {
		return
	}
	if total := allowed + refused; total < 1_000_000 || allowed < total/20 || refused < total/20 || rules < total/100 {
		t.Error("too few cases, or too few of one outcome, to mean anything; adjust the generator")
	}
}

func number(t *testing.T, name string, fallback int64) int64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return fallback
	}
	value, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q is not a number", name, text)
	}
	return value
}

func comparePolicy(t *testing.T, g generator, counts *tally) {
	t.Helper()
	objects := g.policy()
	ours, theirs := rbac.New(load(t, objects)), kubernetes(objects)
	for range requestsEach {
		request := g.request()
		got, _, gotErr := ours.Authorize(t.Context(), request)
		want, _, wantErr := theirs.Authorize(t.Context(), request)
		if got != want || gotErr != nil || wantErr != nil {
			t.Fatalf("request %+v by %+v: got %v, %v; Kubernetes says %v, %v\n%s", request, request.User, got, gotErr, want, wantErr, show(objects))
		}
		if got == authorizer.DecisionAllow {
			counts.allowed.Add(1)
		} else {
			counts.refused.Add(1)
		}
	}
	for range 20 {
		who, namespace := g.user(), g.namespace()
		gotResources, gotURLs, _, gotErr := ours.RulesFor(t.Context(), who, namespace)
		wantResources, wantURLs, _, wantErr := theirs.RulesFor(t.Context(), who, namespace)
		got, want := ruleSet(gotResources, gotURLs), ruleSet(wantResources, wantURLs)
		if !slices.Equal(got, want) || gotErr != nil || wantErr != nil {
			t.Fatalf("rules of %+v in %q: got\n%q, %v; Kubernetes says\n%q, %v\n%s", who, namespace, got, gotErr, want, wantErr, show(objects))
		}
		counts.rules.Add(int64(len(want)))
	}
}

// load loads the objects as an operator's manifests.
func load(t *testing.T, o rbac.Objects) *rbac.Snapshot {
	t.Helper()
	dir := t.TempDir()
	for kind, items := range map[string]any{
		"Role": o.Roles, "ClusterRole": o.ClusterRoles, "RoleBinding": o.RoleBindings, "ClusterRoleBinding": o.ClusterRoleBindings,
	} {
		data, err := json.Marshal(map[string]any{"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind + "List", "items": items})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, kind+".json"), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	snapshot, err := rbac.Load(dir)
	if err != nil {
		t.Fatalf("the generated policy is rejected: %v", err)
	}
	return snapshot
}

// kubernetes returns Kubernetes' own authorizer over the same objects and our built-in ones.
func kubernetes(o rbac.Objects) *upstream.RBACAuthorizer {
	builtin := rbac.Builtin()
	roles := aggregated(slices.Concat(builtin.ClusterRoles, o.ClusterRoles))
	_, static := validation.NewTestRuleResolver(o.Roles, o.RoleBindings, roles, slices.Concat(builtin.ClusterRoleBindings, o.ClusterRoleBindings))
	return upstream.New(static, static, static, static)
}

// aggregated does what the controller of Kubernetes does to ClusterRoles: it writes the union of the selected roles
// into each aggregating one, again and again until nothing changes.
func aggregated(in []*rbacv1.ClusterRole) []*rbacv1.ClusterRole {
	var out []*rbacv1.ClusterRole
	for _, role := range in {
		out = append(out, role.DeepCopy())
	}
	for changed := true; changed; {
		changed = false
		for _, role := range out {
			if role.AggregationRule == nil {
				continue
			}
			rules := selected(role, out)
			changed = changed || len(rules) != len(role.Rules)
			role.Rules = rules
		}
	}
	return out
}

func selected(role *rbacv1.ClusterRole, all []*rbacv1.ClusterRole) []rbacv1.PolicyRule {
	var rules []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			panic(err)
		}
		for _, other := range all {
			if other.Name == role.Name || !selector.Matches(labels.Set(other.Labels)) {
				continue
			}
			for _, rule := range other.Rules {
				if !slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(r, rule) }) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules
}

func ruleSet(resources []authorizer.ResourceRuleInfo, urls []authorizer.NonResourceRuleInfo) []string {
	var out []string
	for _, r := range resources {
		out = append(out, fmt.Sprintf("%q %q %q %q", r.GetVerbs(), r.GetAPIGroups(), r.GetResources(), r.GetResourceNames()))
	}
	for _, r := range urls {
		out = append(out, fmt.Sprintf("%q %q", r.GetVerbs(), r.GetNonResourceURLs()))
	}
	slices.Sort(out)
	return out
}

func show(o rbac.Objects) string {
	var out string
	for _, role := range o.ClusterRoles {
		out += fmt.Sprintf("%s %v %v %v\n", role.Name, role.Labels, role.AggregationRule, role.Rules)
	}
	for _, role := range o.Roles {
		out += fmt.Sprintf("%s/%s %v\n", role.Namespace, role.Name, role.Rules)
	}
	for _, b := range o.ClusterRoleBindings {
		out += fmt.Sprintf("%s %v %v\n", b.Name, b.RoleRef, b.Subjects)
	}
	for _, b := range o.RoleBindings {
		out += fmt.Sprintf("%s/%s %v %v\n", b.Namespace, b.Name, b.RoleRef, b.Subjects)
	}
	return out
}
