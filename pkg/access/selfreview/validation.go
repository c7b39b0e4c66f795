// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// validateAccessReview checks a review as kube-apiserver does. Faults are 422 Invalid.
func validateAccessReview(review *authorizationv1.SelfSubjectAccessReview) error {
	spec := field.NewPath("spec")
	var errs field.ErrorList
	if (review.Spec.ResourceAttributes == nil) == (review.Spec.NonResourceAttributes == nil) {
		errs = append(errs, field.Invalid(spec, field.OmitValueType{}, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if attributes := review.Spec.ResourceAttributes; attributes != nil {
		path := spec.Child("resourceAttributes")
		errs = append(errs, validateFieldSelector(attributes.FieldSelector, path.Child("fieldSelector"))...)
		errs = append(errs, validateLabelSelector(attributes.LabelSelector, path.Child("labelSelector"))...)
	}
	meta := review.ObjectMeta
	meta.ManagedFields = nil // set by the server itself
	if !equality.Semantic.DeepEqual(metav1.ObjectMeta{}, meta) {
		errs = append(errs, field.Invalid(field.NewPath("metadata"), field.OmitValueType{}, "must be empty"))
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: authorizationv1.GroupName, Kind: "SelfSubjectAccessReview"}, "", errs)
}

func validateFieldSelector(selector *authorizationv1.FieldSelectorAttributes, path *field.Path) field.ErrorList {
	if selector == nil {
		return nil
	}
	errs := validateEither(selector.RawSelector, len(selector.Requirements), path)
	// Newer clients may know operators that this server does not; they are reported as ignored.
	options := metav1validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
	for i, requirement := range selector.Requirements {
		errs = append(errs, metav1validation.ValidateFieldSelectorRequirement(requirement, options, path.Child("requirements").Index(i))...)
	}
	return errs
}

func validateLabelSelector(selector *authorizationv1.LabelSelectorAttributes, path *field.Path) field.ErrorList {
	if selector == nil {
		return nil
	}
	errs := validateEither(selector.RawSelector, len(selector.Requirements), path)
	options := metav1validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
	for i, requirement := range selector.Requirements {
		errs = append(errs, metav1validation.ValidateLabelSelectorRequirement(requirement, options, path.Child("requirements").Index(i))...)
	}
	return errs
}

func validateEither(raw string, requirements int, path *field.Path) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(path.Child("rawSelector"), field.OmitValueType{}, "may not be specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(path.Child("requirements"), "requirements or rawSelector is required")}
	}
	return nil
}

// validateRulesReview asks for a namespace: rules are always those of one.
func validateRulesReview(review *authorizationv1.SelfSubjectRulesReview) error {
	if review.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request; set spec.namespace")
	}
	return nil
}

// validateSelfReview accepts anything: the question has no content.
func validateSelfReview(*authenticationv1.SelfSubjectReview) error {
	return nil
}
