// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"fmt"
	"math/rand/v2"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
)

// Small alphabets, so that allow and deny are both frequent and near misses are many.
var (
	verbs         = []string{"get", "list", "delete", "deletecollection", "decrypt", "*"}
	groups        = []string{"", "secret.grafana.app", "apps", "*"}
	resources     = []string{"securevalues", "securevalues/rewrap", "decrypters", "*", "*/rewrap", "*/status", "securevalues/*", "rewrap", "a/b", "a/b/rewrap"}
	requested     = []string{"securevalues", "securevalues", "decrypters", "a", "a/b", "*", ""}
	subresources  = []string{"", "", "rewrap", "status", "b", "b/rewrap", "*"}
	names         = []string{"", "db", "mail", "*"}
	urls          = []string{"/", "/api", "/api/*", "/apis/*", "/apis*", "/apis/**", "*", "/metrics", "/*/x", ""}
	paths         = []string{"/", "/api", "/api/", "/api/v1", "/apis", "/apis/x", "/metrics", "/q/x", "*", ""}
	namespaces    = []string{"team", "ci", "default"}
	userNames     = []string{"ann", "bob", "system:serviceaccount:team:robot", "system:serviceaccount:ci:robot", "robot", "ops", ""}
	groupNames    = []string{"ops", "dev", "ann", "system:authenticated", "system:masters", "system:serviceaccounts"}
	subjectNames  = []string{"ann", "bob", "ops", "dev", "robot", "system:serviceaccount:team:robot", "system:authenticated", "system:masters"}
	accountNames  = []string{"robot", "ann"}
	labelNames    = []string{"to-view", "to-edit", "to-admin"}
	clusterRoles  = 5
	rolesInEach   = 2
	maxBindings   = 8
	maxSubjects   = 4
	maxRules      = 5
	maxRuleValues = 4
)

type generator struct{ *rand.Rand }

func (g generator) one(from []string) string { return from[g.IntN(len(from))] }

// some picks min to max values, which may repeat.
func (g generator) some(from []string, minimum, maximum int) []string {
	var out []string
	for range minimum + g.IntN(maximum-minimum+1) {
		out = append(out, g.one(from))
	}
	return out
}

func (g generator) rules(namespaced bool) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for range g.IntN(maxRules + 1) {
		if !namespaced && g.IntN(3) == 0 {
			out = append(out, rbacv1.PolicyRule{Verbs: g.some(verbs, 1, maxRuleValues), NonResourceURLs: g.some(urls, 1, maxRuleValues)})
			continue
		}
		out = append(out, rbacv1.PolicyRule{
			Verbs:         g.some(verbs, 1, maxRuleValues),
			APIGroups:     g.some(groups, 1, maxRuleValues),
			Resources:     g.some(resources, 1, maxRuleValues),
			ResourceNames: g.some(names, 0, 1),
		})
	}
	return out
}

func (g generator) labels() map[string]string {
	out := map[string]string{}
	for _, label := range g.some(labelNames, 0, 2) {
		out[label] = "true"
	}
	return out
}

// policy returns a valid set of objects. Some ClusterRoles aggregate others, in circles too.
func (g generator) policy() rbac.Objects {
	var o rbac.Objects
	for i := range clusterRoles {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("cr-%d", i), Labels: g.labels()}}
		if g.IntN(4) > 0 {
			role.Rules = g.rules(false)
		} else {
			role.AggregationRule = &rbacv1.AggregationRule{}
			for _, label := range g.some(labelNames, 1, 2) {
				role.AggregationRule.ClusterRoleSelectors = append(role.AggregationRule.ClusterRoleSelectors,
					metav1.LabelSelector{MatchLabels: map[string]string{label: "true"}})
			}
		}
		o.ClusterRoles = append(o.ClusterRoles, role)
	}
	for i := range g.IntN(maxBindings + 1) {
		o.ClusterRoleBindings = append(o.ClusterRoleBindings, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("crb-%d", i)},
			RoleRef:    g.clusterRoleRef(),
			Subjects:   g.subjects(false),
		})
	}
	for _, namespace := range namespaces {
		g.namespaced(&o, namespace)
	}
	return o
}

func (g generator) namespaced(o *rbac.Objects, namespace string) {
	for i := range rolesInEach {
		o.Roles = append(o.Roles, &rbacv1.Role{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("r-%d", i)}, Rules: g.rules(true),
		})
	}
	for i := range g.IntN(maxBindings + 1) {
		ref := g.clusterRoleRef()
		if g.IntN(2) == 0 {
			ref.Kind, ref.Name = "Role", fmt.Sprintf("r-%d", g.IntN(rolesInEach))
		}
		o.RoleBindings = append(o.RoleBindings, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("rb-%d", i)},
			RoleRef:    ref,
			Subjects:   g.subjects(true),
		})
	}
}

func (g generator) clusterRoleRef() rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: fmt.Sprintf("cr-%d", g.IntN(clusterRoles))}
}

func (g generator) subjects(namespaced bool) []rbacv1.Subject {
	var out []rbacv1.Subject
	for range g.IntN(maxSubjects + 1) {
		switch g.IntN(3) {
		case 0:
			out = append(out, rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: g.one(subjectNames)})
		case 1:
			out = append(out, rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: g.one(subjectNames)})
		default:
			account := rbacv1.Subject{Kind: "ServiceAccount", Name: g.one(accountNames), Namespace: g.one(namespaces)}
			if namespaced && g.IntN(2) == 0 {
				account.Namespace = ""
			}
			out = append(out, account)
		}
	}
	return out
}

func (g generator) user() user.Info {
	return &user.DefaultInfo{Name: g.one(userNames), Groups: g.some(groupNames, 0, 4)}
}

func (g generator) namespace() string {
	if g.IntN(4) == 0 {
		return ""
	}
	return g.one(append([]string{"other"}, namespaces...))
}

func (g generator) request() authorizer.AttributesRecord {
	a := authorizer.AttributesRecord{User: g.user(), Verb: g.one(verbs[:len(verbs)-1]), Namespace: g.namespace()}
	if g.IntN(6) == 0 {
		a.Path = g.one(paths)
		return a
	}
	a.ResourceRequest = true
	a.APIGroup, a.Resource = g.one(groups[:2]), g.one(requested)
	a.Subresource, a.Name = g.one(subresources), g.one(names)
	return a
}
