// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/access/rbac"
)

// ruled returns the objects of a cluster in which account load-tests/k6 reads values of namespace default, and subject
// "tried" holds one rule: in a namespace, or in all of them for "".
func ruled(namespace string, tried rbacv1.Subject, rule rbacv1.PolicyRule) *rbac.Snapshot {
	role := func(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
		return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
	}
	ref := func(name string) rbacv1.RoleRef { return rbacv1.RoleRef{Kind: "ClusterRole", Name: name} }
	objects := rbac.Objects{
		ClusterRoles: []*rbacv1.ClusterRole{role("tried", rule), role("decrypter-k6",
			ruleOf("decrypt secret.grafana.app/securevalues"), ruleOf("use secret.grafana.app/decrypters k6-cloud"),
		)},
		RoleBindings: []*rbacv1.RoleBinding{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "k6"}, RoleRef: ref("decrypter-k6"),
			Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "load-tests", Name: "k6"}},
		}},
	}
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "tried"}
	if namespace == "" {
		objects.ClusterRoleBindings = append(objects.ClusterRoleBindings,
			&rbacv1.ClusterRoleBinding{ObjectMeta: meta, RoleRef: ref("tried"), Subjects: []rbacv1.Subject{tried}})
	} else {
		objects.RoleBindings = append(objects.RoleBindings,
			&rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: ref("tried"), Subjects: []rbacv1.Subject{tried}})
	}
	return rbac.FromCluster(objects)
}

// ruleOf parses VERB GROUP/RESOURCE [NAME].
func ruleOf(text string) rbacv1.PolicyRule {
	fields := strings.Fields(text)
	group, resource, _ := strings.Cut(fields[1], "/")
	return rbacv1.PolicyRule{
		Verbs: fields[:1], APIGroups: []string{group}, Resources: []string{resource}, ResourceNames: fields[2:],
	}
}

// TestIndirectReaders has each right of Kubernetes that makes a reader, and those beside it that do not.
func TestIndirectReaders(t *testing.T) {
	const of, held, group = "ServiceAccount load-tests/k6", "SecureValue default/api-key", "rbac.authorization.k8s.io"
	v := value{namespace: "default", name: "api-key", decrypters: []string{"k6-cloud"}}
	tests := []struct{ namespace, rule, of, right string }{
		{"load-tests", "create /serviceaccounts/token", of, "create serviceaccounts/token"},
		{"load-tests", "create /serviceaccounts/token k6", of, "create serviceaccounts/token"},
		{"load-tests", "create /serviceaccounts/token other", "", ""},
		{"load-tests", "create /serviceaccounts", "", ""},
		{"default", "create /serviceaccounts/token", "", ""},
		{"", "create /serviceaccounts/token", of, "create serviceaccounts/token"},
		{"load-tests", "impersonate /serviceaccounts k6", of, "impersonate serviceaccounts"},
		{"load-tests", "impersonate /serviceaccounts other", "", ""},
		{"", "impersonate /users someone", of, "impersonate users"},
		{"", "impersonate /groups", of, "impersonate groups"},
		{"load-tests", "create /pods", of, "create pods"},
		{"load-tests", "create /pods one", "", ""}, // a request to create has no name
		{"load-tests", "patch /pods one", of, "patch pods"},
		{"load-tests", "get /pods", "", ""},
		{"load-tests", "create apps/deployments", of, "create deployments.apps"},
		{"load-tests", "update apps/statefulsets", of, "update statefulsets.apps"},
		{"load-tests", "patch apps/daemonsets", of, "patch daemonsets.apps"},
		{"load-tests", "create apps/replicasets", of, "create replicasets.apps"},
		{"load-tests", "create /replicationcontrollers", of, "create replicationcontrollers"},
		{"load-tests", "create batch/jobs", of, "create jobs.batch"},
		{"load-tests", "update batch/cronjobs", of, "update cronjobs.batch"},
		{"load-tests", "create /pods/exec one", of, "create pods/exec"},
		{"load-tests", "get /pods/attach", of, "get pods/attach"},
		{"load-tests", "patch /pods/ephemeralcontainers", of, "patch pods/ephemeralcontainers"},
		{"load-tests", "create /pods/portforward", "", ""},
		{"", "create /nodes/proxy", of, "create nodes/proxy"},
		{"load-tests", "get /secrets one", of, "get secrets"},
		{"load-tests", "watch /secrets", of, "watch secrets"},
		{"load-tests", "delete /secrets", "", ""},
		{"load-tests", "escalate " + group + "/roles one", of, "escalate roles." + group},
		{"load-tests", "bind " + group + "/clusterroles edit", of, "bind clusterroles." + group},
		{"load-tests", "bind " + group + "/clusterroles view", "", ""},
		{"load-tests", "create " + group + "/rolebindings", "", ""}, // Kubernetes requires bind or the rules
		{"default", "bind " + group + "/clusterroles decrypter-k6", held, "bind clusterroles." + group},
		{"default", "bind " + group + "/clusterroles view", "", ""},
		{"default", "escalate " + group + "/clusterroles", held, "escalate clusterroles." + group},
		{"default", "extend secret.grafana.app/securevalues api-key", held, "extend securevalues.secret.grafana.app"},
		{"default", "extend secret.grafana.app/securevalues other", "", ""},
		{"default", "update secret.grafana.app/securevalues", "", ""},
		{"load-tests", "extend secret.grafana.app/securevalues", "", ""},
		{"load-tests", "* */*", of, "create serviceaccounts/token"},
	}
	for _, tt := range tests {
		t.Run(tt.namespace+" "+tt.rule, func(t *testing.T) {
			snapshot := ruled(tt.namespace, rbacv1.Subject{Kind: "User", Name: "tried"}, ruleOf(tt.rule))
			found := whoElse(snapshot, v, whoCan(snapshot, v).Openers, true)
			if tt.of == "" {
				if len(found) != 0 {
					t.Errorf("got %+v, want nobody", found)
				}
				return
			}
			at := slices.IndexFunc(found, func(i indirect) bool { return i.Of == tt.of })
			if at < 0 || !slices.Contains(found[at].Rights, tt.right) || found[at].Subject.Name != "tried" ||
				len(found[at].Ways) != 1 {
				t.Errorf("got %+v, want %q over %s", found, tt.right, tt.of)
			}
		})
	}
}

// A reader is listed once, a part of Kubernetes counted, and a group of accounts stands for all accounts of its
// namespace.
func TestIndirectReadersAreGrouped(t *testing.T) {
	v := value{namespace: "default", name: "api-key", decrypters: []string{"k6-cloud"}}
	mint := ruleOf("create /serviceaccounts/token")
	self := ruled("load-tests", rbacv1.Subject{Kind: "ServiceAccount", Namespace: "load-tests", Name: "k6"}, mint)
	if found := whoElse(self, v, whoCan(self, v).Openers, true); len(found) != 0 {
		t.Errorf("the reader itself: %+v", found)
	}
	tried := ruled("load-tests", rbacv1.Subject{Kind: "User", Name: "tried"}, mint)
	if found := whoElse(tried, v, whoCan(tried, v).Openers, false); len(found) != 0 {
		t.Errorf("a standalone server has no tokens of accounts: %+v", found)
	}
	v.deleted = true
	readers := []opener{{Subject: subject{"ServiceAccount", "load-tests", "k6"}}}
	if found := whoElse(tried, v, readers, true); len(found) != 0 {
		t.Errorf("a deleted value: %+v", found)
	}
	v.deleted = false
	group := []opener{{Subject: subject{Kind: "Group", Name: "system:serviceaccounts:load-tests"}}}
	if found := whoElse(tried, v, group, true); len(found) != 1 || found[0].Of != "ServiceAccount load-tests/*" {
		t.Errorf("by a group: %+v", found)
	}
	account := rbacv1.Subject{Kind: "ServiceAccount", Namespace: "kube-system", Name: "job-controller"}
	controller := ruled("", account, ruleOf("create /pods"))
	a := whoCan(controller, v)
	a.Indirect = whoElse(controller, v, a.Openers, true)
	text := a.table()
	if strings.Contains(text, "job-controller") || !strings.Contains(text, "1 more are parts of Kubernetes") ||
		len(a.Indirect) != 1 {
		t.Error(text)
	}
}

func TestIndirectIsPrinted(t *testing.T) {
	v := value{namespace: "default", name: "api-key", decrypters: []string{"k6-cloud"}}
	snapshot := ruled("load-tests", rbacv1.Subject{Kind: "Group", Name: "devs"}, rbacv1.PolicyRule{
		Verbs: []string{"create", "patch"}, APIGroups: []string{"", "apps"},
		Resources: []string{"pods", "deployments", "serviceaccounts/token"},
	})
	a := whoCan(snapshot, v)
	a.Indirect, a.NotLookedAt = whoElse(snapshot, v, a.Openers, true), []string{"rights in namespace far: forbidden"}
	text := a.table()
	const want = `
Indirect, by permissions over ServiceAccount load-tests/k6:
  Group devs, by RoleBinding/tried of ClusterRole/tried:
    create serviceaccounts/token
    create/patch pods, deployments.apps

Not looked at: rights in namespace far: forbidden.
`
	if _, got, _ := strings.Cut(text, "decrypter-k6\n"); got != want {
		t.Errorf("got:\n%s", text)
	}
}
