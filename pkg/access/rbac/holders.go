// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"cmp"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Holder is a subject that has a right, and the binding that gives it.
type Holder struct {
	// Subject is a User, a Group, or a ServiceAccount with its namespace.
	Subject rbacv1.Subject
	// BindingKind, BindingNamespace and BindingName name the binding. A ClusterRoleBinding has no namespace.
	BindingKind, BindingNamespace, BindingName string
	// RoleKind and RoleName name the role that it binds.
	RoleKind, RoleName string
	// Wildcards names the lists of the rule in which "*" is what covers the request: verbs, apiGroups, resources.
	Wildcards []string
}

// AnyName in a question to Holders stands for objects whose names are not known: a rule that names some counts, too.
const AnyName = "*"

// FromCluster indexes objects as kube-apiserver serves them: validated, and aggregated by its controller. Nothing is built in,
// and a binding to a role that does not exist gives nothing. The objects are copied.
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

// Holders lists the subjects that a binding gives what a request asks for, whoever its user is: those of the whole cluster first, in
// the order of the bindings.
func (s *Snapshot) Holders(a authorizer.Attributes) []Holder {
	asked := requestOf(a)
	grants := s.cluster.grants
	if local := s.namespaces[a.GetNamespace()]; local != nil {
		grants = append(slices.Clip(grants), local.grants...)
	}
	var all []Holder
	for _, g := range grants {
		if wildcards, ok := g.covers(&asked); ok {
			all = append(all, g.holders(wildcards)...)
		}
	}
	return all
}

// covers finds the rule that covers a request with the fewest wildcards.
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

// wildcards names the lists of a rule that cover a request for a resource by a wildcard only.
func (r *request) wildcards(rule *rbacv1.PolicyRule) []string {
	var found []string
	for _, list := range []struct {
		name   string
		values []string
		want   string
	}{
		{"verbs", rule.Verbs, r.verb}, {"apiGroups", rule.APIGroups, r.group}, {"resources", rule.Resources, r.fullResource()},
	} {
		if !slices.Contains(list.values, list.want) {
			found = append(found, list.name)
		}
	}
	return found
}

func (r *request) fullResource() string {
	if r.subresource == "" {
		return r.resource
	}
	return r.resource + "/" + r.subresource
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
