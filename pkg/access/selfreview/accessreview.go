// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	"context"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
)

// accessReviews answers whether the caller may do one thing.
type accessReviews struct {
	virtual
	authorizer authorizer.UnconditionalAuthorizer
}

// New returns an empty review to decode into.
func (*accessReviews) New() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} }

// GetSingularName returns the name discovery shows.
func (*accessReviews) GetSingularName() string { return "selfsubjectaccessreview" }

// Create asks the authorizer and returns the review with its answer.
func (r *accessReviews) Create(ctx context.Context, obj runtime.Object, admit rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	review, who, err := accept(ctx, obj, validateAccessReview, admit)
	if err != nil {
		return nil, err
	}
	var attributes authorizer.AttributesRecord
	if in := review.Spec.ResourceAttributes; in != nil {
		attributes = resourceAttributes(who, in)
	} else {
		in := review.Spec.NonResourceAttributes
		attributes = authorizer.AttributesRecord{User: who, Path: in.Path, Verb: in.Verb}
	}
	decision, reason, evaluationErr := r.decide(ctx, attributes)
	review.Status = authorizationv1.SubjectAccessReviewStatus{
		Allowed:         decision == authorizer.DecisionAllow,
		Denied:          decision == authorizer.DecisionDeny,
		Reason:          reason,
		EvaluationError: evaluationError(evaluationErr, &attributes),
	}
	return review, nil
}

func (r *accessReviews) decide(ctx context.Context, question authorizer.AttributesRecord) (authorizer.Decision, string, error) {
	if port := (decryptPort{r.authorizer}); port.concerns(&question) {
		return port.Authorize(ctx, question)
	}
	return r.authorizer.Authorize(ctx, question)
}

// evaluationError tells the caller what was not taken into account.
func evaluationError(err error, attributes *authorizer.AttributesRecord) string {
	var texts []string
	if err != nil {
		texts = append(texts, err.Error())
	}
	ignored := func(selector string, err error, used int) {
		switch {
		case err == nil:
		case used > 0:
			texts = append(texts, "spec.resourceAttributes."+selector+" partially ignored due to parse error")
		default:
			texts = append(texts, "spec.resourceAttributes."+selector+" ignored due to parse error")
		}
	}
	ignored("fieldSelector", attributes.FieldSelectorParsingErr, len(attributes.FieldSelectorRequirements))
	ignored("labelSelector", attributes.LabelSelectorParsingErr, len(attributes.LabelSelectorRequirements))
	return strings.Join(texts, "; ")
}
