// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

func localBinding(namespace, name, kind, role string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Subjects: subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
	}
}

func clusterBinding(name, role string, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	b := localBinding("", name, kindClusterRole, role, subjects...)
	return &rbacv1.ClusterRoleBinding{ObjectMeta: b.ObjectMeta, RoleRef: b.RoleRef, Subjects: b.Subjects}
}

func userSubject(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.UserKind, Name: name}
}

func accountSubject(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
}

// inCluster has every way to grant a permission, and bindings that must not count.
func inCluster() Objects {
	every, groups, values := []string{"*"}, []string{group}, []string{"securevalues"}
	return Objects{
		Roles: []*rbacv1.Role{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "one"},
			Rules:      []rbacv1.PolicyRule{rule([]string{"decrypt"}, groups, values, []string{"api-key"})},
		}},
		ClusterRoles: []*rbacv1.ClusterRole{
			clusterRole("everything", rule(every, every, every, nil)),
			clusterRole("both", rule(every, groups, every, nil), rule([]string{"decrypt"}, groups, values, nil)),
			clusterRole("system:discovery", rule([]string{"get"}, groups, values, nil)), // as every cluster has
		},
		RoleBindings: []*rbacv1.RoleBinding{
			localBinding("default", "local", kindRole, "one", accountSubject("", "k6"), accountSubject("other", "k6")),
			localBinding("default", "wide", kindClusterRole, "both", userSubject("ops")),
			localBinding("default", "dangling", kindRole, "gone", userSubject("ghost")),
			localBinding("elsewhere", "far", kindClusterRole, "both", userSubject("far")),
		},
		ClusterRoleBindings: []*rbacv1.ClusterRoleBinding{
			clusterBinding("cluster-admin", "everything",
				rbacv1.Subject{Kind: rbacv1.GroupKind, Name: "system:masters"}),
			clusterBinding("discovery", "system:discovery", userSubject("reader")),
			clusterBinding("gone", "gone", userSubject("ghost")),
		},
	}
}

func TestHolders(t *testing.T) {
	snapshot := FromCluster(inCluster())
	for name, want := range map[string][]string{
		"api-key": {
			"Group /system:masters by ClusterRoleBinding /cluster-admin of ClusterRole everything, * in verbs " +
				"apiGroups resources",
			"ServiceAccount default/k6 by RoleBinding default/local of Role one, * in ",
			"ServiceAccount other/k6 by RoleBinding default/local of Role one, * in ",
			"User /ops by RoleBinding default/wide of ClusterRole both, * in ",
		},
		"another": {
			"Group /system:masters by ClusterRoleBinding /cluster-admin of ClusterRole everything, * in verbs " +
				"apiGroups resources",
			"User /ops by RoleBinding default/wide of ClusterRole both, * in ",
		},
	} {
		var got []string
		for _, h := range snapshot.Holders(ask(nil, "decrypt", "default", "securevalues", "", name)) {
			got = append(got, fmt.Sprintf("%s %s/%s by %s %s/%s of %s %s, * in %s", h.Subject.Kind, h.Subject.Namespace,
				h.Subject.Name,
				h.BindingKind, h.BindingNamespace, h.BindingName, h.RoleKind, h.RoleName,
				strings.Join(h.Wildcards, " ")))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	holders := snapshot.Holders(ask(nil, "use", "default", "decrypters", "", "k6-cloud"))
	if len(holders) != 2 || holders[1].Subject.Name != "ops" ||
		cmp.Diff([]string{"verbs", "resources"}, holders[1].Wildcards) != "" {
		t.Errorf("use of a decrypter: %+v", holders)
	}
}

// TestHoldersAgree compares the list with the decisions of the authorizer.
func TestHoldersAgree(t *testing.T) {
	snapshot := FromCluster(inCluster())
	authorizer := New(snapshot)
	for _, namespace := range []string{"default", "elsewhere", "nowhere"} {
		for _, who := range []string{"ops", "far", "ghost", "reader", "system:serviceaccount:default:k6",
			"system:serviceaccount:other:k6"} {
			request := ask(person(who), "decrypt", namespace, "securevalues", "", "api-key")
			listed := false
			for _, h := range snapshot.Holders(request) {
				name := h.Subject.Name
				if h.Subject.Kind == rbacv1.ServiceAccountKind {
					name = serviceaccount.MakeUsername(h.Subject.Namespace, h.Subject.Name)
				}
				listed = listed || name == who
			}
			if allowed(t, authorizer, request) != listed {
				t.Errorf("%s in %s: listed %t, the authorizer disagrees", who, namespace, listed)
			}
		}
	}
}
