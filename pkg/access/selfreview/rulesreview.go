// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	"context"
	"errors"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
)

// rulesReviews lists what the caller may do in a namespace.
type rulesReviews struct {
	virtual
	resolver authorizer.RuleResolver
	port     decryptPort
}

// New returns an empty review to decode into.
func (*rulesReviews) New() runtime.Object { return &authorizationv1.SelfSubjectRulesReview{} }

// GetSingularName returns the name discovery shows.
func (*rulesReviews) GetSingularName() string { return "selfsubjectrulesreview" }

// Create asks the resolver and returns a review with its answer.
func (r *rulesReviews) Create(ctx context.Context, obj runtime.Object, admit rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	review, who, err := accept(ctx, obj, validateRulesReview, admit)
	if err != nil {
		return nil, err
	}
	resources, urls, incomplete, evaluationErr := r.resolver.RulesFor(ctx, who, review.Spec.Namespace)
	out := &authorizationv1.SelfSubjectRulesReview{
		Status: authorizationv1.SubjectRulesReviewStatus{
			// Both lists are required in the answer, so they must not be null.
			ResourceRules:    make([]authorizationv1.ResourceRule, 0, len(resources)),
			NonResourceRules: make([]authorizationv1.NonResourceRule, 0, len(urls)),
			Incomplete:       incomplete,
		},
	}
	for _, rule := range resources {
		out.Status.ResourceRules = append(out.Status.ResourceRules, authorizationv1.ResourceRule{
			Verbs:         rule.GetVerbs(),
			APIGroups:     rule.GetAPIGroups(),
			Resources:     rule.GetResources(),
			ResourceNames: rule.GetResourceNames(),
		})
	}
	for _, rule := range urls {
		out.Status.NonResourceRules = append(out.Status.NonResourceRules, authorizationv1.NonResourceRule{
			Verbs:           rule.GetVerbs(),
			NonResourceURLs: rule.GetNonResourceURLs(),
		})
	}
	overstated, err := r.port.overstated(ctx, who, review.Spec.Namespace)
	if overstated {
		out.Status.Incomplete = true
		evaluationErr = errors.Join(evaluationErr, errPartly)
	}
	if evaluationErr = errors.Join(evaluationErr, err); evaluationErr != nil {
		out.Status.EvaluationError = evaluationErr.Error()
	}
	return out, nil
}
