// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"errors"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// Get reads one object. A resourceVersion that is none is the client's fault; upstream answers 500.
func (r *REST) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	out, err := r.Store.Get(ctx, name, options)
	if invalid, ok := errors.AsType[storage.InvalidError](err); ok {
		err = apierrors.NewInvalid(secret.GroupKind, name, invalid.Errs)
	}
	if err != nil {
		return nil, clientError(name, err)
	}
	return out, nil
}

// checkResourceVersion refuses an update whose resourceVersion is none, which upstream answers with 500.
func checkResourceVersion(sv *secret.SecureValue) error {
	if sv.ResourceVersion == "" {
		return nil
	}
	if _, err := strconv.ParseUint(sv.ResourceVersion, 10, 64); err == nil {
		return nil
	}
	return apierrors.NewInvalid(secret.GroupKind, sv.Name, field.ErrorList{field.Invalid(
		field.NewPath("metadata", "resourceVersion"), field.OmitValueType{}, "must be the one that the server gave, or absent")})
}
