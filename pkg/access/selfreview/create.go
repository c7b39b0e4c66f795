// SPDX-License-Identifier: Apache-2.0

package selfreview

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// accept returns the posted review and who posted it, after admission has seen it.
func accept[T runtime.Object](ctx context.Context, obj runtime.Object, validate func(T) error, admit rest.ValidateObjectFunc) (T, user.Info, error) {
	var none T
	review, ok := obj.(T)
	if !ok {
		return none, nil, apierrors.NewBadRequest(fmt.Sprintf("not a %T", none))
	}
	if err := validate(review); err != nil {
		return none, nil, err
	}
	who, ok := genericapirequest.UserFrom(ctx)
	if !ok {
		return none, nil, apierrors.NewBadRequest("no user present on request")
	}
	if admit != nil {
		if err := admit(ctx, obj.DeepCopyObject()); err != nil {
			return none, nil, err
		}
	}
	return review, who, nil
}
