// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"cmp"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Holder is a subject with a permission, and the binding that grants it.
type Holder struct {
	// Subject is a User, a Group, or a ServiceAccount with its namespace.
	Subject rbacv1.Subject
	// BindingKind, BindingNamespace (empty for a ClusterRoleBinding) and BindingName name the binding.
	BindingKind, BindingNamespace, BindingName string
	// RoleKind and RoleName name its role.
	RoleKind, RoleName string
	// Wildcards names the lists of the rule that cover the request by "*" only: verbs, apiGroups, resources.
	Wildcards []string
}

// AnyName in a request to Holders stands for objects of unknown name: a rule with resourceNames counts, too.
const AnyName = "*"

// FromCluster indexes objects as kube-apiserver serves them: validated, and aggregated by its controller. Nothing is
// built in, and a binding to a role that does not exist grants nothing. The objects are copied.
func FromCluster(objects Objects) *Snapshot {
	items := objects.items()
	all := make(map[key]*item, len(items))
	for _, i := range items {
		all[i.key] = i
	}
	for _, i := range items {
		if i.binding != nil && all[i.target()] == nil {
			delete(all, i.key)
		}
	}
	return index(all, len(items))
}

// Holders lists the subjects with permission for a request, whose own user does not matter: those of the whole cluster
// first, in the order of the bindings.
func (s *Snapshot) Holders(a authorizer.Attributes) []Holder {
	request := requestOf(a)
	grants := s.cluster.grants
	if local := s.namespaces[a.GetNamespace()]; local != nil {
		grants = append(slices.Clip(grants), local.grants...)
	}
	var all []Holder
	for _, g := range grants {
		if wildcards, ok := g.covers(&request); ok {
			all = append(all, g.holders(wildcards)...)
		}
	}
	return all
}

// covers returns the wildcards of the rule that covers a request with the fewest.
func (g *grant) covers(r *request) (wildcards []string, ok bool) {
	for _, rule := range g.rules {
		if r.name == AnyName {
			rule.ResourceNames = nil
		}
		if !r.coveredBy(&rule) {
			continue
		}
		if found := r.wildcards(&rule); !ok || len(found) < len(wildcards) {
			wildcards, ok = found, true
		}
	}
	return wildcards, ok
}

// wildcards names the lists of a rule that cover a request by a wildcard only.
func (r *request) wildcards(rule *rbacv1.PolicyRule) []string {
	resource := r.resource
	if r.subresource != "" {
		resource += "/" + r.subresource
	}
	var found []string
	for _, list := range []struct {
		name, value string
		values      []string
	}{
		{"verbs", r.verb, rule.Verbs}, {"apiGroups", r.group, rule.APIGroups}, {"resources", resource, rule.Resources},
	} {
		if !slices.Contains(list.values, list.value) {
			found = append(found, list.name)
		}
	}
	return found
}

func (g *grant) holders(wildcards []string) []Holder {
	all := make([]Holder, 0, len(g.binding.binding.subjects))
	for _, subject := range g.binding.binding.subjects {
		if subject.Kind == rbacv1.ServiceAccountKind {
			subject.Namespace = cmp.Or(subject.Namespace, g.binding.key.namespace)
		}
		all = append(all, Holder{
			Subject:     subject,
			BindingKind: g.binding.key.kind, BindingNamespace: g.binding.key.namespace, BindingName: g.binding.key.name,
			RoleKind: g.binding.binding.ref.Kind, RoleName: g.binding.binding.ref.Name,
			Wildcards: wildcards,
		})
	}
	return all
}
