// SPDX-License-Identifier: Apache-2.0

package access

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
		{user, other, nobody},
		{user, team, both},
		{team, ops, both},
		{user, everybody, first},
		{everybody, team, second},
		{batch, everybody, first},
		{batch, accounts, first},
		{batch, jobs, first},
		{elsewhere, jobs, nobody},
		{jobs, accounts, first},
		{accounts, jobs, second},
		{batch, team, nobody},
		{jobs, team, nobody},
		{user, jobs, nobody},
		{batch, elsewhere, nobody},
		{batch, user, nobody},
	} {
		if got := relate(test.a, test.b); got != test.want {
			t.Errorf("%s and %s: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
