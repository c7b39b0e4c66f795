// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// subject is a user, group or ServiceAccount of RBAC. The zero value is nobody.
type subject struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// newSubject turns the user name of a ServiceAccount into that ServiceAccount.
func newSubject(s rbacv1.Subject) subject {
	if s.Kind == rbacv1.UserKind {
		if namespace, name, err := serviceaccount.SplitUsername(s.Name); err == nil {
			return subject{rbacv1.ServiceAccountKind, namespace, name}
		}
	}
	if s.Kind != rbacv1.ServiceAccountKind {
		s.Namespace = ""
	}
	return subject{s.Kind, s.Namespace, s.Name}
}

// String is KIND NAME, with the namespace of a ServiceAccount.
func (s subject) String() string {
	if s.Namespace != "" {
		return s.Kind + " " + s.Namespace + "/" + s.Name
	}
	return s.Kind + " " + s.Name
}

// barred are subjects that the decrypt port never accepts, whatever RBAC says, and why.
var barred = map[subject]string{
	{Kind: rbacv1.GroupKind, Name: user.SystemPrivilegedGroup}: "the decrypt port ignores this group",
	{Kind: rbacv1.GroupKind, Name: user.AllUnauthenticated}:    "the decrypt port requires credentials",
	{Kind: rbacv1.UserKind, Name: user.Anonymous}:              "the decrypt port requires credentials",
}

// relation is which callers are both of two subjects.
type relation int

const (
	// relNone: no caller.
	relNone relation = iota
	// relFirst: every caller that is the first subject; relSecond: every one that is the second.
	relFirst
	relSecond
	// relSome: some callers, which RBAC does not know.
	relSome
)

// relate compares two different subjects.
func relate(a, b subject) relation {
	switch {
	case implies(a, b):
		return relFirst
	case implies(b, a):
		return relSecond
	case a.Kind == rbacv1.ServiceAccountKind || b.Kind == rbacv1.ServiceAccountKind,
		a.ofServiceAccounts() || b.ofServiceAccounts():
		return relNone // the groups of a ServiceAccount are fixed
	case a.Kind == rbacv1.UserKind && b.Kind == rbacv1.UserKind:
		return relNone
	default:
		return relSome
	}
}

// implies reports whether every caller that is a is a member of the group b. Kubernetes fixes the groups of a
// ServiceAccount, and adds system:authenticated to every authenticated caller.
func implies(a, b subject) bool {
	if b.Kind != rbacv1.GroupKind {
		return false
	}
	switch b.Name {
	case user.AllAuthenticated:
		return true
	case serviceaccount.AllServiceAccountsGroup:
		return a.Kind == rbacv1.ServiceAccountKind || a.ofServiceAccounts()
	default:
		return a.Kind == rbacv1.ServiceAccountKind && b.Name == serviceaccount.MakeNamespaceGroupName(a.Namespace)
	}
}

// ofServiceAccounts reports whether only ServiceAccounts are members of a group.
func (s subject) ofServiceAccounts() bool {
	return s.Kind == rbacv1.GroupKind && (s.Name == serviceaccount.AllServiceAccountsGroup ||
		strings.HasPrefix(s.Name, serviceaccount.ServiceAccountGroupPrefix))
}
