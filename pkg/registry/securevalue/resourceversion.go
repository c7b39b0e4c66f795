// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"errors"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/watch"
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
		return nil, clientError(ctx, name, err)
	}
	return out, nil
}

// Watch streams changes. A resourceVersion that is none is the client's fault; upstream answers 500.
func (r *REST) Watch(ctx context.Context, options *internalversion.ListOptions) (watch.Interface, error) {
	w, err := r.Store.Watch(ctx, options)
	if invalid, ok := errors.AsType[storage.InvalidError](err); ok {
		err = apierrors.NewInvalid(secret.GroupKind, "", invalid.Errs)
	}
	if err != nil {
		return nil, clientError(ctx, "", err)
	}
	return w, nil
}

// resourceVersion reads the version that an update names, 0 when it names none: "0" names none either. Something that is
// no version is refused, where upstream answers 500.
func resourceVersion(sv *secret.SecureValue) (uint64, error) {
	if sv.ResourceVersion == "" {
		return 0, nil
	}
	version, err := strconv.ParseUint(sv.ResourceVersion, 10, 64)
	if err != nil {
		return 0, apierrors.NewInvalid(secret.GroupKind, sv.Name, field.ErrorList{field.Invalid(
			field.NewPath("metadata", "resourceVersion"), field.OmitValueType{}, "must be the one that the server gave, or absent")})
	}
	return version, nil
}
