// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// VerbExtend is the RBAC verb on securevalues to add a decrypter to a stored value without writing a new one. Of the
// shipped roles only the extender has it, which is not aggregated.
const VerbExtend = "extend"

// writeRequest is the state of one create or update between decoding and validation: registry.Store sets the
// resourceVersion before the strategy can see whether the client sent one.
type writeRequest struct {
	replace       bool
	unconditional bool
	dryRun        bool
	// warnings are those of the last attempt: registry.Store tries again after a concurrent write.
	warnings []string
	sealed   sealedInput
}

type writeRequestKey struct{}

func withWriteRequest(ctx context.Context, dryRun bool) (context.Context, *writeRequest) {
	info, ok := request.RequestInfoFrom(ctx)
	write := &writeRequest{replace: !ok || info.Verb == "update", dryRun: dryRun}
	return context.WithValue(ctx, writeRequestKey{}, write), write
}

// valueRequired reports whether the update must have a value: a PUT without resourceVersion.
func valueRequired(ctx context.Context) bool {
	update, ok := ctx.Value(writeRequestKey{}).(*writeRequest)
	return ok && update.replace && update.unconditional
}

// writesValue reports whether an update stores a new value. A dry run does not, and must look like the live object if
// nothing else differs: a GitOps tool that compares the two would always see a drift.
func writesValue(ctx context.Context, sv *secret.SecureValue) bool {
	update, ok := ctx.Value(writeRequestKey{}).(*writeRequest)
	return sv.Spec.Value != nil && (!ok || !update.dryRun)
}

// noteWarnings sets the warnings that the client gets once the update is stored.
func noteWarnings(ctx context.Context, texts ...string) {
	if update, ok := ctx.Value(writeRequestKey{}).(*writeRequest); ok {
		update.warnings = slices.DeleteFunc(texts, func(text string) bool { return text == "" })
	}
}

// updatedObject checks the client's object before registry.Store uses it.
type updatedObject struct {
	rest.UpdatedObjectInfo
	request *writeRequest
	keys    SealingKeys
	name    string
}

// UpdatedObject records whether the client sent a resourceVersion, replaces the errors of patches, which are returned
// here, opens a new spec.sealedValue, and refuses a new value of a deleted object, and metadata that must not reach
// upstream's validation.
func (u updatedObject) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj, err := u.UpdatedObjectInfo.UpdatedObject(ctx, old)
	if err != nil {
		return nil, patchError(u.name, err)
	}
	if sv, ok := obj.(*secret.SecureValue); ok {
		version, err := resourceVersion(sv)
		if err != nil {
			return nil, err
		}
		u.request.unconditional = version == 0 // as registry.Store sees it
		stored := old.(*secret.SecureValue)
		if err := u.request.sealed.update(ctx, u.keys, u.name, sv, stored); err != nil {
			return nil, err
		}
		if err := refuseValueOfDeleted(sv, stored); err != nil {
			return nil, err
		}
	}
	if err := checkMetadata(obj); err != nil {
		return nil, err
	}
	return obj, nil
}

// guardDecrypters wraps the validation of an update: adding a decrypter to a stored value would turn write access into
// read access, so it requires a new value in the same request, or the verb extend. A deleted object has no value.
func (r *REST) guardDecrypters(next rest.ValidateObjectUpdateFunc) rest.ValidateObjectUpdateFunc {
	return func(ctx context.Context, obj, old runtime.Object) error {
		sv, stored := obj.(*secret.SecureValue), old.(*secret.SecureValue)
		if sv.Spec.Value == nil && stored.DeletionTimestamp == nil && addsDecrypter(sv, stored) {
			if err := r.authorizeExtend(ctx, stored); err != nil {
				return err
			}
		}
		if next != nil {
			if err := next(ctx, obj, old); err != nil {
				return err
			}
		}
		return r.checkOpens(ctx, sv, stored)
	}
}

// checkOpens opens the stored value in a dry run that changes the decrypters, as the update does to re-seal it.
func (r *REST) checkOpens(ctx context.Context, sv, stored *secret.SecureValue) error {
	update, ok := ctx.Value(writeRequestKey{}).(*writeRequest)
	if !ok || !update.dryRun || sv.Spec.Value != nil || sv.DeletionTimestamp != nil ||
		bytes.Equal(sealed.AAD(sv), sealed.AAD(stored)) {
		return nil
	}
	key, err := r.KeyFunc(ctx, stored.Name)
	if err != nil {
		return err
	}
	return r.rewrapper.CheckOpens(ctx, key)
}

func addsDecrypter(sv, stored *secret.SecureValue) bool {
	return slices.ContainsFunc(sv.Spec.Decrypters, func(name string) bool {
		return !slices.Contains(stored.Spec.Decrypters, name)
	})
}

func (r *REST) authorizeExtend(ctx context.Context, stored *secret.SecureValue) error {
	user, ok := request.UserFrom(ctx)
	if ok && r.authorizer != nil {
		decision, _, err := r.authorizer.Authorize(ctx, authorizer.AttributesRecord{
			User: user, Verb: VerbExtend, Namespace: stored.Namespace, Name: stored.Name,
			APIGroup: secret.GroupName, APIVersion: v1beta1.SchemeGroupVersion.Version, Resource: secret.Resource,
			ResourceRequest: true,
		})
		if decision == authorizer.DecisionAllow {
			return nil
		}
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("authorizing the verb %q: %w", VerbExtend, err))
		}
	}
	return apierrors.NewForbidden(secret.GroupResource, stored.Name, fmt.Errorf(
		"adding a decrypter to a stored value needs a new spec.value in the same request, or the verb %q on %s",
		VerbExtend, secret.Resource))
}

// resourceVersion returns the resourceVersion of an update, 0 if it has none. An invalid one is 400; upstream answers
// 500.
func resourceVersion(sv *secret.SecureValue) (uint64, error) {
	if sv.ResourceVersion == "" {
		return 0, nil
	}
	version, err := strconv.ParseUint(sv.ResourceVersion, 10, 64)
	if err != nil {
		return 0, apierrors.NewInvalid(secret.GroupKind, sv.Name, field.ErrorList{field.Invalid(
			field.NewPath("metadata", "resourceVersion"), field.OmitValueType{},
			"must be one that the server returned, or absent")})
	}
	return version, nil
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
