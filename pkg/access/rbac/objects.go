// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Kinds of manifests that are understood.
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

// item is one object and where it was found. Exactly one of the two pointers is set.
type item struct {
	at      string
	key     key
	meta    *metav1.ObjectMeta
	role    *roleItem
	binding *bindingItem
	// broken marks an object that could not be decoded: it is reported once and only its name is believed.
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

// errorf returns an error that says which object, and where it was found, is at fault.
func (i *item) errorf(format string, args ...any) error {
	where := i.key.String()
	if i.at != "" {
		where = i.at + ": " + where
	}
	return fmt.Errorf("%s: %w", where, fmt.Errorf(format, args...))
}

// newItem turns a typed RBAC object into an item; at says where it was found.
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

// namespaced reports whether objects of this kind live in a namespace.
func (i *item) namespaced() bool {
	return i.key.kind == kindRole || i.key.kind == kindRoleBinding
}

// items returns the objects as items without a place.
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
