// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// The supported kinds.
const (
	kindRole               = "Role"
	kindClusterRole        = "ClusterRole"
	kindRoleBinding        = "RoleBinding"
	kindClusterRoleBinding = "ClusterRoleBinding"
)

// Objects is a set of RBAC objects.
type Objects struct {
	Roles               []*rbacv1.Role
	ClusterRoles        []*rbacv1.ClusterRole
	RoleBindings        []*rbacv1.RoleBinding
	ClusterRoleBindings []*rbacv1.ClusterRoleBinding
}

// key names one object.
type key struct{ kind, namespace, name string }

// String returns the key as it is shown in an error.
func (k key) String() string {
	if k.namespace == "" {
		return fmt.Sprintf("%s %q", k.kind, k.name)
	}
	return fmt.Sprintf("%s %q", k.kind, k.namespace+"/"+k.name)
}

// item is one object and where it was found. Exactly one of role and binding is set.
type item struct {
	at      string
	key     key
	meta    *metav1.ObjectMeta
	role    *roleItem
	binding *bindingItem
	// broken marks an object that could not be decoded. It is reported once, and only its name is used.
	broken bool
}

// roleItem is a Role or ClusterRole.
type roleItem struct {
	rules       []rbacv1.PolicyRule
	aggregation *rbacv1.AggregationRule
}

// bindingItem is a RoleBinding or ClusterRoleBinding.
type bindingItem struct {
	ref      rbacv1.RoleRef
	subjects []rbacv1.Subject
}

// errorf returns an error that names the object and where it was found.
func (i *item) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", i.at, i.key, fmt.Errorf(format, args...))
}

// newItem returns the item of a typed RBAC object that was found at a place.
func newItem(at string, object any) *item {
	i := &item{at: at}
	switch o := object.(type) {
	case *rbacv1.Role:
		i.set(kindRole, &o.ObjectMeta).role = &roleItem{rules: o.Rules}
	case *rbacv1.ClusterRole:
		i.set(kindClusterRole, &o.ObjectMeta).role = &roleItem{rules: o.Rules, aggregation: o.AggregationRule}
	case *rbacv1.RoleBinding:
		i.set(kindRoleBinding, &o.ObjectMeta).binding = &bindingItem{ref: o.RoleRef, subjects: o.Subjects}
	case *rbacv1.ClusterRoleBinding:
		i.set(kindClusterRoleBinding, &o.ObjectMeta).binding = &bindingItem{ref: o.RoleRef, subjects: o.Subjects}
	}
	return i
}

func (i *item) set(kind string, meta *metav1.ObjectMeta) *item {
	i.key = key{kind: kind, namespace: meta.Namespace, name: meta.Name}
	i.meta = meta
	return i
}

// namespaced reports whether objects of this kind are in a namespace.
func (i *item) namespaced() bool {
	return i.key.kind == kindRole || i.key.kind == kindRoleBinding
}

// items returns copies of the objects as items without a place.
func (o Objects) items() []*item {
	var out []*item
	for _, r := range o.Roles {
		out = append(out, newItem("", r.DeepCopy()))
	}
	for _, r := range o.ClusterRoles {
		out = append(out, newItem("", r.DeepCopy()))
	}
	for _, b := range o.RoleBindings {
		out = append(out, newItem("", b.DeepCopy()))
	}
	for _, b := range o.ClusterRoleBindings {
		out = append(out, newItem("", b.DeepCopy()))
	}
	return out
}

// Builtin returns the roles and bindings that always exist. Without them a client could neither discover the API nor
// ask what it is allowed to do; the public sealing keys are for everybody. Manifests can bind these roles but not
// redefine them.
func Builtin() Objects {
	reviews := []rbacv1.PolicyRule{
		{
			Verbs:     []string{"create"},
			APIGroups: []string{"authorization.k8s.io"},
			Resources: []string{"selfsubjectaccessreviews", "selfsubjectrulesreviews"},
		},
		{
			Verbs:     []string{"create"},
			APIGroups: []string{"authentication.k8s.io"},
			Resources: []string{"selfsubjectreviews"},
		},
	}
	var o Objects
	o.builtin("system:basic-user", reviews, user.AllAuthenticated)
	// In a cluster: config/rbac/sealing-keys.yaml.
	o.builtin("system:sealing-keys", []rbacv1.PolicyRule{{
		Verbs: []string{"get", "list"}, APIGroups: []string{secret.GroupName},
		Resources: []string{secret.SealingKeyResource},
	}}, user.AllAuthenticated)
	o.builtin("system:discovery", getURLs(
		"/livez", "/readyz", "/healthz", "/version", "/version/", "/openapi", "/openapi/*",
		"/api", "/api/*", "/apis", "/apis/*",
	), user.AllAuthenticated)
	o.builtin("system:public-info-viewer", getURLs(
		"/livez", "/readyz", "/healthz", "/version", "/version/",
	), user.AllAuthenticated, user.AllUnauthenticated)
	return o
}

func getURLs(urls ...string) []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: urls}}
}

// builtin adds a ClusterRole and a ClusterRoleBinding of the same name.
func (o *Objects) builtin(name string, rules []rbacv1.PolicyRule, groups ...string) {
	meta := metav1.ObjectMeta{Name: name}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kindClusterRole, Name: name},
	}
	for _, group := range groups {
		binding.Subjects = append(binding.Subjects,
			rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: group})
	}
	o.ClusterRoles = append(o.ClusterRoles, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules})
	o.ClusterRoleBindings = append(o.ClusterRoleBindings, binding)
}
