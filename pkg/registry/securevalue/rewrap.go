// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"
	"k8s.io/apiserver/pkg/util/dryrun"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// SubresourceRewrap is posted to. Its RBAC rule is verb create on securevalues/rewrap.
const SubresourceRewrap = "rewrap"

// Rewrapper seals a stored value anew; pkg/sealed has the real one.
type Rewrapper interface {
	Rewrap(ctx context.Context, key string, preconditions *storage.Preconditions, dryRun bool) (sealed.RewrapResult, error)
	// CheckOpens returns the error that opening a stored value to seal it again would end with.
	CheckOpens(ctx context.Context, key string) error
}

// RewrapREST serves securevalues/NAME/rewrap. It can neither set nor show a value: the request has no field for one,
// and the answer names keys only.
type RewrapREST struct {
	keyFunc   func(ctx context.Context, name string) (string, error)
	rewrapper Rewrapper
}

var (
	_ rest.NamedCreater                   = (*RewrapREST)(nil)
	_ rest.Storage                        = (*RewrapREST)(nil)
	_ rest.SubresourceObjectMetaPreserver = (*RewrapREST)(nil)
)

// NewRewrapREST returns the subresource of r.
func NewRewrapREST(r *REST) *RewrapREST {
	return &RewrapREST{keyFunc: r.KeyFunc, rewrapper: r.rewrapper}
}

// New returns the type of the request's body.
func (*RewrapREST) New() runtime.Object { return &secret.SecureValueRewrap{} }

// Destroy has nothing to free: the storage is that of REST.
func (*RewrapREST) Destroy() {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps metadata.uid, which is a precondition.
func (*RewrapREST) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create rewraps one value. Metadata.uid and metadata.resourceVersion of the request are preconditions (409).
func (r *RewrapREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	asked, ok := obj.(*secret.SecureValueRewrap)
	if !ok {
		return nil, apierrors.NewBadRequest("the body must be a SecureValueRewrap, or absent")
	}
	namespace := request.NamespaceValue(ctx)
	if err := checkRewrap(asked, namespace, name); err != nil {
		return nil, err
	}
	if validate != nil {
		if err := validate(ctx, asked.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	key, err := r.keyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	result, err := r.rewrapper.Rewrap(ctx, key, preconditionsOf(asked), dryrun.IsDryRun(options.DryRun))
	countRewrap(result, err)
	if err != nil {
		return nil, withWriteKey(clientError(ctx, name, storeerr.InterpretUpdateError(err, secret.GroupResource, name)), result.WriteKey)
	}
	return &secret.SecureValueRewrap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Status:     secret.SecureValueRewrapStatus{Key: result.Key, WriteKey: result.WriteKey, Rewrapped: result.Rewrapped},
	}, nil
}

// withWriteKey names the write key in the answer about a value that does not open, for callers that ask which key it is.
func withWriteKey(err error, key string) error {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || key == "" || status.ErrStatus.Code < http.StatusInternalServerError || status.ErrStatus.Details == nil {
		return err
	}
	status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: secret.CauseWriteKey, Field: "status.writeKey", Message: key,
	})
	return err
}

// checkRewrap refuses a body that names another object than the address.
func checkRewrap(asked *secret.SecureValueRewrap, namespace, name string) error {
	if asked.Name != "" && asked.Name != name {
		return apierrors.NewBadRequest("metadata.name differs from the name in the address: leave it out")
	}
	if asked.Namespace != "" && asked.Namespace != namespace {
		return apierrors.NewBadRequest("metadata.namespace differs from the namespace in the address: leave it out")
	}
	return nil
}

func preconditionsOf(asked *secret.SecureValueRewrap) *storage.Preconditions {
	preconditions := &storage.Preconditions{}
	if asked.UID != "" {
		preconditions.UID = &asked.UID
	}
	if asked.ResourceVersion != "" {
		preconditions.ResourceVersion = &asked.ResourceVersion
	}
	return preconditions
}
