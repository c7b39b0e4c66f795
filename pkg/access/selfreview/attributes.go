// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	"cmp"
	"errors"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// resourceAttributes turns a question into what the authorizer would be asked about the real request.
func resourceAttributes(who user.Info, in *authorizationv1.ResourceAttributes) authorizer.AttributesRecord {
	out := authorizer.AttributesRecord{
		User:            who,
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

// labelRequirements returns the requirements that are understood, and an error about the others. Leaving one out asks
// for more than was meant, so it cannot turn a no into a yes.
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
			errs = append(errs, fmt.Errorf("field selector operator %q with %d values is not supported", requirement.Operator, len(requirement.Values)))
			continue
		}
		out = append(out, fields.Requirement{Field: requirement.Key, Operator: operator, Value: requirement.Values[0]})
	}
	return out, errors.Join(errs...)
}

// Equals and not In: so look the requirements of a parsed selector.
var fieldOperators = map[metav1.FieldSelectorOperator]selection.Operator{
	metav1.FieldSelectorOpIn:    selection.Equals,
	metav1.FieldSelectorOpNotIn: selection.NotEquals,
}
