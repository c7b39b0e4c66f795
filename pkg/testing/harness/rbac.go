// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"slices"
	"strings"
)

// The shipped file and role of the decrypter k6-cloud, for Options.RBACFiles and Grant, and the token of its user.
const (
	K6File  = "config/rbac/decrypter-k6-cloud.yaml"
	K6Role  = "secret.grafana.app:decrypter-k6-cloud"
	K6Token = "token-of-k6"
)

// WithK6 adds user k6, who decrypts what lists k6-cloud in a namespace.
func (o Options) WithK6(namespace string) Options {
	return o.With("k6", "decrypter-k6-cloud", namespace)
}

// With adds a user, whose token is "token-of-" and its name, and binds a role of config/rbac to it: in all namespaces
// when namespace is "".
func (o Options) With(user, role, namespace string) Options {
	file, name := "config/rbac/clusterrole-"+role+".yaml", "secret.grafana.app:securevalues-"+role
	if strings.HasPrefix(role, "decrypter-") {
		file, name = "config/rbac/"+role+".yaml", "secret.grafana.app:"+role
	}
	if token := Token("token-of-"+user, user); !slices.Contains(o.Tokens, token) {
		o.Tokens = append(o.Tokens, token)
	}
	o.RBAC, o.RBACFiles = append(o.RBAC, Grant(user, name, namespace)), append(o.RBACFiles, file)
	return o
}

const rbacVersion = "---\napiVersion: rbac.authorization.k8s.io/v1\n"

// Grant is a manifest that binds a ClusterRole to a user, or to a group when user starts with "group/", in all
// namespaces when namespace is "". Manifests can be concatenated.
func Grant(user, role, namespace string) string {
	kind, where, subject := "ClusterRoleBinding", "", "User"
	if namespace != "" {
		kind, where = "RoleBinding", ", namespace: "+namespace
	}
	name := strings.ReplaceAll(user, "/", ":") + "-" + role
	if group, ok := strings.CutPrefix(user, "group/"); ok {
		subject, user = "Group", group
	}
	return rbacVersion + fmt.Sprintf(`kind: %s
metadata: {name: %q%s}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: %q}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: %s, name: %q}]
`, kind, name, where, role, subject, user)
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
