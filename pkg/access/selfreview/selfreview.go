// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	"context"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
)

// selfReviews tells the caller as whom the server knows it.
type selfReviews struct{ virtual }

// New returns an empty review to decode into.
func (*selfReviews) New() runtime.Object { return &authenticationv1.SelfSubjectReview{} }

// GetSingularName returns the name discovery shows.
func (*selfReviews) GetSingularName() string { return "selfsubjectreview" }

// Create returns a review that holds the caller's name, groups and extra attributes.
func (*selfReviews) Create(ctx context.Context, obj runtime.Object, admit rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	_, who, err := accept(ctx, obj, validateSelfReview, admit)
	if err != nil {
		return nil, err
	}
	info := authenticationv1.UserInfo{
		Username: who.GetName(),
		UID:      who.GetUID(),
		Groups:   who.GetGroups(),
		Extra:    make(map[string]authenticationv1.ExtraValue, len(who.GetExtra())),
	}
	for key, values := range who.GetExtra() {
		info.Extra[key] = values
	}
	return &authenticationv1.SelfSubjectReview{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.Now()},
		Status:     authenticationv1.SelfSubjectReviewStatus{UserInfo: info},
	}, nil
}
