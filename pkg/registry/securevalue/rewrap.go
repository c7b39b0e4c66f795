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

// SubresourceRewrap is the subresource that re-encrypts a value: verb create on securevalues/rewrap in RBAC.
const SubresourceRewrap = "rewrap"

// Rewrapper re-encrypts a stored value; pkg/sealed implements it.
type Rewrapper interface {
	Rewrap(ctx context.Context, key string, preconditions *storage.Preconditions, dryRun bool) (sealed.RewrapResult,
		error)
	// CheckOpens returns the error of opening a stored value, if any.
	CheckOpens(ctx context.Context, key string) error
}

// RewrapREST serves securevalues/NAME/rewrap. It can neither set nor show a value: the request has no field for one,
// and the answer only names keys.
type RewrapREST struct {
	keyFunc   func(ctx context.Context, name string) (string, error)
	rewrapper Rewrapper
	servers   func(context.Context) ([]sealed.Server, error)
}

var (
	_ rest.NamedCreater                   = (*RewrapREST)(nil)
	_ rest.Storage                        = (*RewrapREST)(nil)
	_ rest.SubresourceObjectMetaPreserver = (*RewrapREST)(nil)
)

// NewRewrapREST returns the subresource of r.
func NewRewrapREST(r *REST) *RewrapREST {
	return &RewrapREST{keyFunc: r.KeyFunc, rewrapper: r.rewrapper, servers: r.servers}
}

// New returns the type of the request body.
func (*RewrapREST) New() runtime.Object { return &secret.SecureValueRewrap{} }

// Destroy does nothing: REST owns the storage.
func (*RewrapREST) Destroy() {}

// PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate keeps metadata.uid, which is a precondition.
func (*RewrapREST) PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate() bool { return true }

// Create rewraps one value. metadata.uid and metadata.resourceVersion of the request are preconditions (409).
func (r *RewrapREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc,
	options *metav1.CreateOptions) (runtime.Object, error) {
	in, ok := obj.(*secret.SecureValueRewrap)
	if !ok {
		return nil, apierrors.NewBadRequest("the body must be a SecureValueRewrap, or absent")
	}
	namespace := request.NamespaceValue(ctx)
	if err := checkNames(&in.ObjectMeta, namespace, name); err != nil {
		return nil, err
	}
	if validate != nil {
		if err := validate(ctx, in.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	key, err := r.keyFunc(ctx, name)
	if err != nil {
		return nil, err
	}
	result, err := r.rewrapper.Rewrap(ctx, key, preconditionsOf(in), dryrun.IsDryRun(options.DryRun))
	countRewrap(result, err)
	if err != nil {
		return nil,
			withWriteKey(clientError(ctx, name, storeerr.InterpretUpdateError(err, secret.GroupResource, name)),
				result.WriteKey)
	}
	out := &secret.SecureValueRewrap{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Status: secret.SecureValueRewrapStatus{Key: result.Key, WriteKey: result.WriteKey,
			Rewrapped: result.Rewrapped},
	}
	if dryrun.IsDryRun(options.DryRun) {
		servers, err := r.servers(ctx)
		if err != nil {
			return nil, err
		}
		for _, s := range servers {
			out.Status.Servers = append(out.Status.Servers,
				secret.SecureValueServer{Name: s.Instance, Version: s.Version, WriteKey: s.WriteKey})
		}
	}
	return out, nil
}

// withWriteKey adds the write key to the error about a value that does not open, for callers that need its name.
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

// checkNames refuses a body that names another object than the URL.
func checkNames(in *metav1.ObjectMeta, namespace, name string) error {
	if in.Name != "" && in.Name != name {
		return apierrors.NewBadRequest("metadata.name differs from the name in the URL: leave it out")
	}
	if in.Namespace != "" && in.Namespace != namespace {
		return apierrors.NewBadRequest("metadata.namespace differs from the namespace in the URL: leave it out")
	}
	return nil
}

func preconditionsOf(in *secret.SecureValueRewrap) *storage.Preconditions {
	preconditions := &storage.Preconditions{}
	if in.UID != "" {
		preconditions.UID = &in.UID
	}
	if in.ResourceVersion != "" {
		preconditions.ResourceVersion = &in.ResourceVersion
	}
	return preconditions
}

func countRewrap(result sealed.RewrapResult, err error) {
	label := "unchanged"
	switch {
	case err != nil:
		label = "failed"
	case result.Rewrapped:
		label = "rewrapped"
	}
	rewraps.WithLabelValues(label).Inc()
}
