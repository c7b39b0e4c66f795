// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// request is what rules look at of a request, fetched once: the attributes stand behind an interface.
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

// hasOrAll reports whether list holds want or the wildcard. The wildcard is the same "*" for verbs and API groups.
func hasOrAll(list []string, want string) bool {
	for _, have := range list {
		if have == "*" || have == want {
			return true
		}
	}
	return false
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
		// Cutting the rule spares joining the two parts of the request, which would allocate.
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

// urlMatches understands "*", an exact path and a path with trailing stars, which stands for every path it begins.
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
