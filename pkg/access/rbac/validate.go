// SPDX-License-Identifier: Apache-2.0

package rbac

import (
	"errors"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validate checks one object by the rules of the Kubernetes API and reports all faults.
func (i *item) validate() error {
	if i.broken {
		return nil
	}
	var errs []error
	fault := func(format string, args ...any) { errs = append(errs, i.errorf(format, args...)) }

	i.validateMeta(fault)
	if i.role != nil {
		for n := range i.role.rules {
			validateRule(&i.role.rules[n], i.namespaced(), faultAt(fault, "rules", n))
		}
		validateAggregation(i.role.aggregation, fault)
	}
	if i.binding != nil {
		i.validateRef(fault)
		for n := range i.binding.subjects {
			validateSubject(&i.binding.subjects[n], i.namespaced(), faultAt(fault, "subjects", n))
		}
	}
	return errors.Join(errs...)
}

type faultFunc func(format string, args ...any)

// faultAt prefixes faults with the path of a list entry.
func faultAt(fault faultFunc, list string, index int) faultFunc {
	return func(format string, args ...any) {
		fault("%s[%d]%w", list, index, fmt.Errorf(format, args...))
	}
}

func (i *item) validateMeta(fault faultFunc) {
	if i.key.name == "" {
		fault("metadata.name is missing; give the object a name")
	}
	for _, msg := range content.IsPathSegmentName(i.key.name) {
		fault("metadata.name %q %s", i.key.name, msg)
	}
	switch {
	case i.namespaced() && i.key.namespace == "":
		fault("metadata.namespace is missing; name the namespace, or use Cluster%s", i.key.kind)
	case i.namespaced():
		for _, msg := range validation.IsDNS1123Label(i.key.namespace) {
			fault("metadata.namespace %q: %s", i.key.namespace, msg)
		}
	case i.key.namespace != "":
		fault("a %s is not in a namespace; remove metadata.namespace", i.key.kind)
	}
	for _, err := range metav1validation.ValidateLabels(i.meta.Labels, field.NewPath("metadata", "labels")) {
		fault("%w", err)
	}
}

func validateRule(rule *rbacv1.PolicyRule, namespaced bool, fault faultFunc) {
	if len(rule.Verbs) == 0 {
		fault(".verbs is empty; list at least one verb")
	}
	if len(rule.NonResourceURLs) > 0 {
		if namespaced {
			fault(".nonResourceURLs is not allowed in a Role; use a ClusterRole and a ClusterRoleBinding")
		}
		if len(rule.APIGroups) > 0 || len(rule.Resources) > 0 || len(rule.ResourceNames) > 0 {
			fault(".nonResourceURLs cannot be combined with apiGroups, resources or " +
				"resourceNames; split the rule in two")
		}
		return
	}
	if len(rule.APIGroups) == 0 {
		fault(`.apiGroups is empty; list at least one API group ("" is the core group)`)
	}
	if len(rule.Resources) == 0 {
		fault(".resources is empty; list at least one resource, or use nonResourceURLs")
	}
}

func validateAggregation(rule *rbacv1.AggregationRule, fault faultFunc) {
	if rule == nil {
		return
	}
	if len(rule.ClusterRoleSelectors) == 0 {
		fault("aggregationRule.clusterRoleSelectors is empty; add a label selector or remove aggregationRule")
	}
	for n := range rule.ClusterRoleSelectors {
		if _, err := metav1.LabelSelectorAsSelector(&rule.ClusterRoleSelectors[n]); err != nil {
			fault("aggregationRule.clusterRoleSelectors[%d]: %w", n, err)
		}
	}
}

// validateRef checks roleRef and defaults its API group. checkRefs checks that the role exists.
func (i *item) validateRef(fault faultFunc) {
	ref := &i.binding.ref
	if ref.APIGroup == "" {
		ref.APIGroup = rbacv1.GroupName
	}
	if ref.APIGroup != rbacv1.GroupName {
		fault("roleRef.apiGroup %q is not supported; use %q", ref.APIGroup, rbacv1.GroupName)
	}
	if ref.Name == "" {
		fault("roleRef.name is missing; name the role to bind")
	}
	switch {
	case ref.Kind == kindClusterRole, ref.Kind == kindRole && i.namespaced():
	case ref.Kind == kindRole:
		fault("roleRef.kind Role is not supported in a ClusterRoleBinding; " +
			"use ClusterRole, or a RoleBinding in the namespace of the role")
	default:
		fault("roleRef.kind %q is not supported; use Role or ClusterRole", ref.Kind)
	}
}

// validateSubject checks a subject and defaults its API group, as the Kubernetes API does.
func validateSubject(s *rbacv1.Subject, namespaced bool, fault faultFunc) {
	if s.Name == "" {
		fault(".name is missing; name the %s", s.Kind)
	}
	group := rbacv1.GroupName
	switch s.Kind {
	case rbacv1.UserKind, rbacv1.GroupKind:
		if s.APIGroup == "" {
			s.APIGroup = group
		}
	case rbacv1.ServiceAccountKind:
		group = ""
		validateServiceAccount(s, namespaced, fault)
	default:
		fault(".kind %q is not supported; use User, Group or ServiceAccount", s.Kind)
		return
	}
	if s.APIGroup != group {
		fault(".apiGroup %q is not supported for a %s; use %q", s.APIGroup, s.Kind, group)
	}
}

func validateServiceAccount(s *rbacv1.Subject, namespaced bool, fault faultFunc) {
	if s.Name != "" {
		for _, msg := range validation.IsDNS1123Subdomain(s.Name) {
			fault(".name %q: %s", s.Name, msg)
		}
	}
	// In a RoleBinding the namespace defaults to that of the binding.
	if s.Namespace == "" && !namespaced {
		fault(".namespace is missing; name the namespace of the ServiceAccount")
	}
	if s.Namespace != "" {
		for _, msg := range validation.IsDNS1123Label(s.Namespace) {
			fault(".namespace %q: %s", s.Namespace, msg)
		}
	}
}
