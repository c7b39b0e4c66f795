// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

// strategy says how a SecureValue is created and changed. It does no crypto: its hooks also run on a dry run and
// cannot return an error.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	validator *validation.Validator
	// standalone is Config.Standalone.
	standalone bool
}

var (
	_ rest.RESTCreateStrategy              = strategy{}
	_ rest.RESTUpdateStrategy              = strategy{}
	_ rest.RESTDeleteStrategy              = strategy{}
	_ rest.ResetFieldsStrategy             = strategy{}
	_ rest.GarbageCollectionDeleteStrategy = strategy{}
)

// NamespaceScoped is true: every value lives in a namespace.
func (strategy) NamespaceScoped() bool { return true }

// PrepareForCreate sets what the server alone may set and cleans what clients copy the value into.
func (strategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	sv := obj.(*secret.SecureValue)
	sv.Generation = 1
	sv.Status = secret.SecureValueStatus{Version: 1, Keeper: secret.KeeperSystem}
	dropCopiesOfTheValue(sv)
	stampCreate(ctx, sv)
}

// PrepareForUpdate keeps the status, counts a new value as a new version, and a new spec as a new generation.
func (strategy) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	sv, stored := obj.(*secret.SecureValue), old.(*secret.SecureValue)
	sv.Status = stored.Status
	newValue := writesValue(ctx, sv)
	if newValue {
		sv.Status.Version++
	}
	if newValue || specChanged(sv, stored) {
		sv.Generation = stored.Generation + 1
	}
	dropCopiesOfTheValue(sv)
	keepServerAnnotations(sv, stored)
	if len(sv.Spec.Decrypters) <= secret.MaxDecrypters { // a longer list is refused, and may be as long as the body
		recordDecrypters(ctx, sv, stored, newValue)
		noteWarning(ctx, unseenDecrypters(ctx, sv, stored))
	}
	if newValue || changed(sv, stored) {
		stampUpdate(ctx, sv)
	}
}

// Validate reports all faults of a new object.
func (s strategy) Validate(_ context.Context, obj runtime.Object) field.ErrorList {
	return s.validator.Create(obj.(*secret.SecureValue))
}

// ValidateUpdate reports all faults of a changed object.
func (s strategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	stored := old.(*secret.SecureValue)
	return s.validator.Update(obj.(*secret.SecureValue), stored, valueRequired(ctx) && stored.DeletionTimestamp == nil)
}

// WarningsOnCreate warns of owner references where nothing acts on them.
func (s strategy) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	return s.warnings(obj.(*secret.SecureValue), &secret.SecureValue{})
}

// WarningsOnUpdate warns of owner references where nothing acts on them. It is asked for each attempt of an update: a warning that
// depends on what is stored belongs to REST.Update, which warns of the attempt that was stored.
func (s strategy) WarningsOnUpdate(_ context.Context, obj, old runtime.Object) []string {
	return s.warnings(obj.(*secret.SecureValue), old.(*secret.SecureValue))
}

// warnings are about what a write changes; stored is empty on create.
func (s strategy) warnings(sv, stored *secret.SecureValue) []string {
	if s.standalone && len(sv.OwnerReferences) > 0 && !apiequality.Semantic.DeepEqual(sv.OwnerReferences, stored.OwnerReferences) {
		return []string{warnNothingOwns}
	}
	return nil
}

// Canonicalize leaves the object alone: the order of decrypters is the writer's.
func (strategy) Canonicalize(runtime.Object) {}

// AllowCreateOnUpdate is false: a PUT of an absent name is 404 (secrets-management-http-api.md, "Update").
func (strategy) AllowCreateOnUpdate(context.Context) bool { return false }

// AllowUnconditionalUpdate is true: the document's PUT carries no resourceVersion.
func (strategy) AllowUnconditionalUpdate(context.Context) bool { return true }

// DefaultGarbageCollectionPolicy deletes dependents, as everywhere.
func (strategy) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	return rest.DeleteDependents
}

// GetResetFields keeps the value out of every managedFields entry: nobody owns it, so it never conflicts, and the last
// writer wins. Without this, server-side apply would conflict for ever with a field that no live object shows.
func (strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(v1beta1.SchemeGroupVersion.String()): fieldpath.NewSet(
			fieldpath.MakePathOrDie("status"),
			fieldpath.MakePathOrDie("spec", "value"),
		),
	}
}
