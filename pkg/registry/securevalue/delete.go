// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"errors"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/httpguard"
)

// Delete removes an object and its value. The Status it answers carries the code 200, as the user's document shows;
// with finalizers pending the answer is the object, whose value is gone.
func (r *REST) Delete(
	ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions,
) (runtime.Object, bool, error) {
	httpguard.GrowStack()
	// With finalizers a delete writes first, which drops the ciphertext: it may use the last room of the disk.
	out, deleted, err := r.Store.Delete(etcd.Reserved(ctx), name, validate, r.deleteOptions(options))
	if err != nil {
		return nil, false, clientError(ctx, name, err)
	}
	if status, ok := out.(*metav1.Status); ok && status.Status == metav1.StatusSuccess {
		status.Code = http.StatusOK
	}
	return withoutPlaintext(out), deleted, nil
}

// DeleteCollection removes every object that the options select.
func (r *REST) DeleteCollection(
	ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions, list *internalversion.ListOptions,
) (runtime.Object, error) {
	out, err := r.Store.DeleteCollection(etcd.Reserved(ctx), validate, r.deleteOptions(options), list)
	if err != nil {
		return nil, clientError(ctx, "", err)
	}
	return out, nil
}

// unreadableDeleter is upstream's deleter of records that cannot be read, with the errors of this server.
type unreadableDeleter struct{ rest.GracefulDeleter }

// GetCorruptObjDeleter implements rest.CorruptObjectDeleterProvider.
func (r *REST) GetCorruptObjDeleter() rest.GracefulDeleter {
	deleter := r.Store.GetCorruptObjDeleter()
	if deleter == nil {
		return nil
	}
	return unreadableDeleter{deleter}
}

// Delete removes a record that cannot be read, whatever its finalizers were.
func (d unreadableDeleter) Delete(
	ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions,
) (runtime.Object, bool, error) {
	out, deleted, err := d.GracefulDeleter.Delete(etcd.Reserved(ctx), name, validate, options)
	if err != nil {
		return nil, false, clientError(ctx, name, err)
	}
	return out, deleted, nil
}

// deleteOptions returns the options to delete with. A garbage collector removes the finalizers that the policies Foreground
// and Orphan add; a standalone server has none, so it deletes by the policy Background, which adds none and drops those that
// are set. The caller's options stay as they are: upstream's handler reads them again for the status code.
func (r *REST) deleteOptions(options *metav1.DeleteOptions) *metav1.DeleteOptions {
	if !r.standalone {
		return options
	}
	if options == nil {
		options = metav1.NewDeleteOptions(0)
	}
	options = options.DeepCopy()
	options.OrphanDependents = nil //nolint:staticcheck // deprecated, and still sent
	options.PropagationPolicy = new(metav1.DeletePropagationBackground)
	return options
}

var errDeleted = errors.New("it is deleted and takes no new value: create it again once its finalizers are removed")

// refuseValueOfDeleted refuses a new value for an object that is deleted and waits for its finalizers.
func refuseValueOfDeleted(updated, stored *secret.SecureValue) error {
	if stored.DeletionTimestamp == nil || updated.Spec.Value == nil {
		return nil
	}
	conflict := apierrors.NewConflict(secret.GroupResource, stored.Name, errDeleted)
	conflict.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: secret.CauseDeleted, Field: "metadata.deletionTimestamp", Message: errDeleted.Error(),
	}}
	return conflict
}

// warnNothingOwns tells who sets owner references in a standalone server that they have no effect.
const warnNothingOwns = "metadata.ownerReferences: this server has no garbage collector: deleting the owner does not delete the secure value"
