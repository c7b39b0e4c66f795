// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// request is what rules look at in a request, fetched once: the attributes are behind an interface.
type request struct {
	isResource                         bool
	verb, path                         string
	group, resource, subresource, name string
}

func requestOf(a authorizer.Attributes) request {
	r := request{isResource: a.IsResourceRequest(), verb: a.GetVerb()}
	if !r.isResource {
		r.path = a.GetPath()
		return r
	}
	r.group, r.resource, r.subresource, r.name = a.GetAPIGroup(), a.GetResource(), a.GetSubresource(), a.GetName()
	return r
}

// coveredBy reports whether one rule covers the request. It allocates nothing.
func (r *request) coveredBy(rule *rbacv1.PolicyRule) bool {
	if !hasOrAll(rule.Verbs, r.verb) {
		return false
	}
	if !r.isResource {
		return urlMatches(rule.NonResourceURLs, r.path)
	}
	return hasOrAll(rule.APIGroups, r.group) &&
		resourceMatches(rule.Resources, r.resource, r.subresource) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.name))
}

// hasOrAll reports whether list contains a value or the wildcard, which is "*" for verbs and API groups.
func hasOrAll(list []string, value string) bool {
	return slices.Contains(list, value) || slices.Contains(list, "*")
}

// resourceMatches understands "*", "resource", "resource/subresource" and "*/subresource". As upstream, "*" covers
// subresources while "resource" does not cover "resource/subresource".
func resourceMatches(list []string, resource, subresource string) bool {
	for _, have := range list {
		if have == rbacv1.ResourceAll {
			return true
		}
		if subresource == "" {
			if have == resource {
				return true
			}
			continue
		}
		// Cutting the rule avoids joining the two parts of the request, which would allocate.
		parent, ok := strings.CutSuffix(have, subresource)
		if !ok {
			continue
		}
		if name, ok := strings.CutSuffix(parent, "/"); ok && (name == rbacv1.ResourceAll || name == resource) {
			return true
		}
	}
	return false
}

// urlMatches understands "*", an exact path, and a path with trailing stars as a prefix.
func urlMatches(list []string, path string) bool {
	for _, have := range list {
		if have == rbacv1.NonResourceAll || have == path {
			return true
		}
		if strings.HasSuffix(have, "*") && strings.HasPrefix(path, strings.TrimRight(have, "*")) {
			return true
		}
	}
	return false
}

// aggregate gives every ClusterRole with an aggregationRule the union of the rules of the ClusterRoles it selects.
// Rules written in such a role are replaced, as the controller of Kubernetes does. Aggregating roles may select each
// other.
func aggregate(clusterRoles []*item) {
	resolved := make(map[*item][]rbacv1.PolicyRule)
	for _, i := range clusterRoles {
		if i.role.aggregation != nil {
			resolved[i] = collect(i, clusterRoles, map[*item]bool{i: true}, nil)
		}
	}
	// Assigned last, so that the order of the roles does not matter.
	for i, rules := range resolved {
		i.role.rules = rules
	}
}

// collect appends the rules of every plain role that can be reached from an aggregating one.
func collect(from *item, clusterRoles []*item, seen map[*item]bool, rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	for n := range from.role.aggregation.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&from.role.aggregation.ClusterRoleSelectors[n])
		if err != nil {
			continue // rejected by validate
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
			for _, rule := range i.role.rules {
				same := func(other rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(other, rule) }
				if !slices.ContainsFunc(rules, same) {
					rules = append(rules, rule)
				}
			}
		}
	}
	return rules
}
