// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func TestTypesAreTheirOwnHub(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for object, group := range map[runtime.Object]string{
		&authorizationv1.SelfSubjectAccessReview{}: authorizationv1.GroupName,
		&authorizationv1.SelfSubjectRulesReview{}:  authorizationv1.GroupName,
		&authenticationv1.SelfSubjectReview{}:      authenticationv1.GroupName,
	} {
		hub, err := scheme.UnsafeConvertToVersion(object, internal(group))
		if err != nil || hub != object {
			t.Errorf("%T: conversion to the internal version gave %T, %v", object, hub, err)
		}
		versions := scheme.PrioritizedVersionsForGroup(group)
		if len(versions) != 1 || versions[0].Version != "v1" {
			t.Errorf("%s has versions %v, want v1", group, versions)
		}
	}
}
