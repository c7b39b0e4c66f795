// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"strings"
)

// The shipped file and role of the decrypter k6-cloud, for Options.RBACFiles and Grant.
const (
	K6File = "config/rbac/decrypter-k6-cloud.yaml"
	K6Role = "secret.grafana.app:decrypter-k6-cloud"
)

const rbacVersion = "---\napiVersion: rbac.authorization.k8s.io/v1\n"

// Grant is a manifest that binds a ClusterRole to a user, in all namespaces when namespace is "". Manifests can be
// concatenated.
func Grant(user, role, namespace string) string {
	kind, where := "ClusterRoleBinding", ""
	if namespace != "" {
		kind, where = "RoleBinding", ", namespace: "+namespace
	}
	return rbacVersion + fmt.Sprintf(`kind: %s
metadata: {name: %q%s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %q}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %q}]
`, kind, user+"-"+role, where, role, user)
}

// ClusterRole is the manifest of a role with rules as Rule returns them, or written by hand.
func ClusterRole(name string, rules ...string) string {
	return rbacVersion + fmt.Sprintf("kind: ClusterRole\nmetadata: {name: %q}\nrules: [%s]\n", name, strings.Join(rules, ", "))
}

// Rule allows verbs, separated by commas, on a resource of secret.grafana.app; on all objects, or on those with these
// names.
func Rule(verbs, resource string, names ...string) string {
	limit := ""
	if len(names) > 0 {
		limit = ", resourceNames: [" + strings.Join(names, ", ") + "]"
	}
	return fmt.Sprintf("{apiGroups: [secret.grafana.app], resources: [%s], verbs: [%s]%s}", resource, verbs, limit)
}
