// SPDX-License-Identifier: Apache-2.0

package access

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"
)

// subject is who has a right. The zero value is nobody.
type subject struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// newSubject takes the user name of a ServiceAccount for the ServiceAccount that it is.
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

// barred are those that the decrypt port never lets in, whatever RBAC says, and why.
var barred = map[subject]string{
	{Kind: rbacv1.GroupKind, Name: user.SystemPrivilegedGroup}: "the decrypt port takes this group out of a caller's groups",
	{Kind: rbacv1.GroupKind, Name: user.AllUnauthenticated}:    "the decrypt port lets nobody in without credentials",
	{Kind: rbacv1.UserKind, Name: user.Anonymous}:              "the decrypt port lets nobody in without credentials",
}

// relation says who has both rights when one subject has the first and another the second.
type relation int

const (
	// nobody: no caller is both.
	nobody relation = iota
	// first: every caller that is the first subject is the second, too; second is the reverse.
	first
	second
	// both: a caller may be both, which RBAC does not know.
	both
)

// relate compares two different subjects.
func relate(a, b subject) relation {
	switch {
	case implies(a, b):
		return first
	case implies(b, a):
		return second
	case a.Kind == rbacv1.ServiceAccountKind || b.Kind == rbacv1.ServiceAccountKind, a.ofServiceAccounts() || b.ofServiceAccounts():
		return nobody // the groups of a ServiceAccount are fixed
	case a.Kind == rbacv1.UserKind && b.Kind == rbacv1.UserKind:
		return nobody
	default:
		return both
	}
}

// implies reports whether every caller that is a is a member of the group b. Kubernetes fixes the groups of a ServiceAccount, and
// makes everybody who is let in a member of system:authenticated.
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
	return s.Kind == rbacv1.GroupKind &&
		(s.Name == serviceaccount.AllServiceAccountsGroup || strings.HasPrefix(s.Name, serviceaccount.ServiceAccountGroupPrefix))
}
