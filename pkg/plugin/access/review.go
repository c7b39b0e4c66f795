// SPDX-License-Identifier: Apache-2.0

package access

import (
	"context"
	"errors"
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	typedauthorizationv1 "k8s.io/client-go/kubernetes/typed/authorization/v1"
)

// reviewer has the cluster decide about somebody.
type reviewer struct {
	client typedauthorizationv1.AuthorizationV1Interface
}

// Authorize creates a SubjectAccessReview.
func (r reviewer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	extra := map[string]authorizationv1.ExtraValue{}
	for key, values := range a.GetUser().GetExtra() {
		extra[key] = values
	}
	review, err := r.client.SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			ResourceAttributes: attributes(a), Extra: extra,
			User: a.GetUser().GetName(), UID: a.GetUser().GetUID(), Groups: a.GetUser().GetGroups(),
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return authorizer.DecisionNoOpinion, "", fmt.Errorf("%w%s", err, reviewHint(err))
	}
	return decision(review.Status)
}

// selfReviewer has the cluster decide about who asks, which everybody may.
type selfReviewer struct {
	client typedauthorizationv1.AuthorizationV1Interface
}

// Authorize creates a SelfSubjectAccessReview.
func (r selfReviewer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	review, err := r.client.SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: attributes(a)},
	}, metav1.CreateOptions{})
	if err != nil {
		return authorizer.DecisionNoOpinion, "", err
	}
	return decision(review.Status)
}

func attributes(a authorizer.Attributes) *authorizationv1.ResourceAttributes {
	return &authorizationv1.ResourceAttributes{
		Namespace: a.GetNamespace(), Verb: a.GetVerb(), Group: a.GetAPIGroup(), Version: a.GetAPIVersion(),
		Resource: a.GetResource(), Name: a.GetName(),
	}
}

// decision takes an evaluation that failed for an error, unless another part of the cluster allowed it all the same.
func decision(status authorizationv1.SubjectAccessReviewStatus) (authorizer.Decision, string, error) {
	switch {
	case status.Allowed:
		return authorizer.DecisionAllow, status.Reason, nil
	case status.Denied:
		return authorizer.DecisionDeny, status.Reason, nil
	case status.EvaluationError != "":
		return authorizer.DecisionNoOpinion, "", errors.New(status.EvaluationError)
	}
	return authorizer.DecisionNoOpinion, status.Reason, nil
}

func reviewHint(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return "; asking about somebody takes the right to create subjectaccessreviews.authorization.k8s.io"
	case apierrors.IsNotFound(err):
		return "; a standalone server cannot be asked about somebody: give the folder of its flag --rbac-dir with --rbac-dir"
	}
	return ""
}

// newUser is a caller as a subject.
func newUser(who user.Info) subject {
	return newSubject(rbacv1.Subject{Kind: rbacv1.UserKind, Name: who.GetName()})
}
