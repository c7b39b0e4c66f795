// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
)

// Builtin returns the roles and bindings that exist whatever the folder holds. Without them a client could neither
// find the API nor ask what it may do. Manifests can bind these roles but not redefine them.
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
