// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

func TestRelate(t *testing.T) {
	user, other := subject{Kind: rbacv1.UserKind, Name: "u"}, subject{Kind: rbacv1.UserKind, Name: "v"}
	team, ops := subject{Kind: rbacv1.GroupKind, Name: "team"}, subject{Kind: rbacv1.GroupKind, Name: "ops"}
	everybody := subject{Kind: rbacv1.GroupKind, Name: "system:authenticated"}
	accounts := subject{Kind: rbacv1.GroupKind, Name: "system:serviceaccounts"}
	jobs := subject{Kind: rbacv1.GroupKind, Name: "system:serviceaccounts:jobs"}
	batch := newSubject(rbacv1.Subject{Kind: rbacv1.UserKind, Name: "system:serviceaccount:jobs:batch"})
	elsewhere := newSubject(rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: "web", Name: "batch"})
	for _, test := range []struct {
		a, b subject
		want relation
	}{
		{user, other, relNone},
		{user, team, relSome},
		{team, ops, relSome},
		{user, everybody, relFirst},
		{everybody, team, relSecond},
		{batch, everybody, relFirst},
		{batch, accounts, relFirst},
		{batch, jobs, relFirst},
		{elsewhere, jobs, relNone},
		{jobs, accounts, relFirst},
		{accounts, jobs, relSecond},
		{batch, team, relNone},
		{jobs, team, relNone},
		{user, jobs, relNone},
		{batch, elsewhere, relNone},
		{batch, user, relNone},
	} {
		if got := relate(test.a, test.b); got != test.want {
			t.Errorf("%s and %s: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
