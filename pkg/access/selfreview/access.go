// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/rights"
)

const (
	whyMasters = "the decrypt port removes group system:masters from a caller's groups"
	whyUnnamed = "name one decrypter: permission to use every decrypter reads no value"
)

// errPartly accompanies a list of rules in which a wildcard seems to cover the verbs of the decrypt port.
var errPartly = errors.New(`wildcards do not include verbs "decrypt" and "use": ` +
	`the decrypt port accepts only grants by name`)

// decryptPort decides about the verbs of the decrypt port as that port does: the authorizer of the API would allow
// administrators, which the decrypt port then refuses.
type decryptPort struct {
	authorizer authorizer.UnconditionalAuthorizer
}

// concerns reports whether a request is for the decrypt port. No resource of the API has its verbs.
func (decryptPort) concerns(a *authorizer.AttributesRecord) bool {
	return a.ResourceRequest && (a.Verb == rights.VerbDecrypt || a.Verb == rights.VerbUse)
}

// Authorize decides about a request for the port.
func (p decryptPort) Authorize(
	ctx context.Context, request authorizer.AttributesRecord,
) (decision authorizer.Decision, reason string, err error) {
	caller := request.User
	request.User = rights.Caller(caller)
	decision, reason, err = p.authorizer.Authorize(ctx, request)
	if decision != authorizer.DecisionAllow {
		if privileged(caller) {
			reason = whyMasters
		}
		return decision, reason, err
	}
	wildcard, err := p.wildcard(ctx, request.User, request.Namespace)
	switch {
	case err != nil:
		return authorizer.DecisionNoOpinion, "", err
	case wildcard:
		return authorizer.DecisionDeny, rights.WhyWildcard, nil
	case request.Verb == rights.VerbUse && request.Name == "":
		return authorizer.DecisionDeny, whyUnnamed, nil
	}
	return decision, reason, nil
}

// wildcard reports whether a caller may use every decrypter.
func (p decryptPort) wildcard(ctx context.Context, caller user.Info, namespace string) (bool, error) {
	decision, _, err := p.authorizer.Authorize(ctx, rights.Use(caller, namespace, rights.RandomDecrypter()))
	return decision == authorizer.DecisionAllow, err
}

// overstated reports whether the rules of a caller seem to grant what the decrypt port refuses.
func (p decryptPort) overstated(ctx context.Context, caller user.Info, namespace string) (bool, error) {
	if privileged(caller) {
		return true, nil
	}
	return p.wildcard(ctx, rights.Caller(caller), namespace)
}

func privileged(caller user.Info) bool {
	return slices.Contains(caller.GetGroups(), user.SystemPrivilegedGroup)
}

// resourceAttributes returns the attributes of the request that a review is about.
func resourceAttributes(caller user.Info, in *authorizationv1.ResourceAttributes) authorizer.AttributesRecord {
	out := authorizer.AttributesRecord{
		User:            caller,
		Verb:            in.Verb,
		Namespace:       in.Namespace,
		APIGroup:        in.Group,
		APIVersion:      cmp.Or(in.Version, "*"),
		Resource:        in.Resource,
		Subresource:     in.Subresource,
		Name:            in.Name,
		ResourceRequest: true,
	}
	out.LabelSelectorRequirements, out.LabelSelectorParsingErr = labelRequirements(in.LabelSelector)
	out.FieldSelectorRequirements, out.FieldSelectorParsingErr = fieldRequirements(in.FieldSelector)
	return out
}

// labelRequirements returns the supported requirements, and an error about the others. Omitting one makes the request
// broader, so it cannot turn a denial into an allow.
func labelRequirements(in *authorizationv1.LabelSelectorAttributes) (labels.Requirements, error) {
	if in == nil {
		return nil, nil
	}
	if in.RawSelector != "" {
		selector, err := labels.Parse(in.RawSelector)
		if err != nil {
			return nil, err
		}
		requirements, _ := selector.Requirements()
		return requirements, nil
	}
	var out labels.Requirements
	var errs []error
	for _, requirement := range in.Requirements {
		operator, ok := labelOperators[requirement.Operator]
		if !ok {
			errs = append(errs, fmt.Errorf("%q is not a valid label selector operator", requirement.Operator))
			continue
		}
		r, err := labels.NewRequirement(requirement.Key, operator, requirement.Values)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, *r)
	}
	return out, errors.Join(errs...)
}

var labelOperators = map[metav1.LabelSelectorOperator]selection.Operator{
	metav1.LabelSelectorOpIn:           selection.In,
	metav1.LabelSelectorOpNotIn:        selection.NotIn,
	metav1.LabelSelectorOpExists:       selection.Exists,
	metav1.LabelSelectorOpDoesNotExist: selection.DoesNotExist,
}

// fieldRequirements does for fields what labelRequirements does for labels.
func fieldRequirements(in *authorizationv1.FieldSelectorAttributes) (fields.Requirements, error) {
	if in == nil {
		return nil, nil
	}
	if in.RawSelector != "" {
		selector, err := fields.ParseSelector(in.RawSelector)
		if err != nil {
			return nil, err
		}
		return selector.Requirements(), nil
	}
	var out fields.Requirements
	var errs []error
	for _, requirement := range in.Requirements {
		operator, ok := fieldOperators[requirement.Operator]
		if !ok || len(requirement.Values) != 1 {
			errs = append(errs, fmt.Errorf("field selector operator %q with %d values is not supported",
				requirement.Operator, len(requirement.Values)))
			continue
		}
		out = append(out, fields.Requirement{Field: requirement.Key, Operator: operator, Value: requirement.Values[0]})
	}
	return out, errors.Join(errs...)
}

// Equals and not In: like the requirements of a parsed selector.
var fieldOperators = map[metav1.FieldSelectorOperator]selection.Operator{
	metav1.FieldSelectorOpIn:    selection.Equals,
	metav1.FieldSelectorOpNotIn: selection.NotEquals,
}

// validateAccessReview validates as kube-apiserver does. Faults are 422 Invalid.
func validateAccessReview(review *authorizationv1.SelfSubjectAccessReview) error {
	spec := field.NewPath("spec")
	var errs field.ErrorList
	if (review.Spec.ResourceAttributes == nil) == (review.Spec.NonResourceAttributes == nil) {
		errs = append(errs, field.Invalid(spec, field.OmitValueType{},
			"exactly one of nonResourceAttributes or resourceAttributes must be specified"))
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
	return apierrors.NewInvalid(schema.GroupKind{Group: authorizationv1.GroupName, Kind: "SelfSubjectAccessReview"}, "",
		errs)
}

func validateFieldSelector(selector *authorizationv1.FieldSelectorAttributes, path *field.Path) field.ErrorList {
	if selector == nil {
		return nil
	}
	errs := validateEither(selector.RawSelector, len(selector.Requirements), path)
	// Newer clients may know operators that this server does not; they are reported as ignored.
	options := metav1validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
	for i, requirement := range selector.Requirements {
		at := path.Child("requirements").Index(i)
		errs = append(errs, metav1validation.ValidateFieldSelectorRequirement(requirement, options, at)...)
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
		at := path.Child("requirements").Index(i)
		errs = append(errs, metav1validation.ValidateLabelSelectorRequirement(requirement, options, at)...)
	}
	return errs
}

func validateEither(raw string, requirements int, path *field.Path) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		const text = "may not be specified at the same time as requirements"
		return field.ErrorList{field.Invalid(path.Child("rawSelector"), field.OmitValueType{}, text)}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(path.Child("requirements"), "requirements or rawSelector is required")}
	}
	return nil
}

// validateRulesReview requires a namespace: rules are those of one.
func validateRulesReview(review *authorizationv1.SelfSubjectRulesReview) error {
	if review.Spec.Namespace == "" {
		return apierrors.NewBadRequest("no namespace on request; set spec.namespace")
	}
	return nil
}
