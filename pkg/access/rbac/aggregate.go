// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// aggregate gives every ClusterRole that has an aggregationRule the union of the rules of the ClusterRoles it selects.
// Rules written in such a role are replaced, as the controller of Kubernetes does. Roles may aggregate roles that
// aggregate; a circle adds nothing.
func aggregate(clusterRoles []*item) {
	resolved := make(map[*item][]rbacv1.PolicyRule)
	for _, i := range clusterRoles {
		if i.role.aggregation != nil {
			resolved[i] = collect(i, clusterRoles, map[*item]bool{i: true}, nil)
		}
	}
	// Only now, so that the order of the roles does not matter.
	for i, rules := range resolved {
		i.role.rules = rules
	}
}

// collect adds the rules of every plain role that can be reached from an aggregating one.
func collect(from *item, clusterRoles []*item, seen map[*item]bool, rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	for n := range from.role.aggregation.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&from.role.aggregation.ClusterRoleSelectors[n])
		if err != nil {
			continue // refused by validate
		}
		for _, i := range clusterRoles {
			if seen[i] || !selector.Matches(labels.Set(i.meta.Labels)) {
				continue
			}
			seen[i] = true
			if i.role.aggregation != nil {
				rules = collect(i, clusterRoles, seen, rules)
				continue
			}
			rules = appendNew(rules, i.role.rules)
		}
	}
	return rules
}

func appendNew(rules, more []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	for n := range more {
		if !containsRule(rules, &more[n]) {
			rules = append(rules, more[n])
		}
	}
	return rules
}

func containsRule(rules []rbacv1.PolicyRule, rule *rbacv1.PolicyRule) bool {
	for n := range rules {
		if equality.Semantic.DeepEqual(&rules[n], rule) {
			return true
		}
	}
	return false
}
