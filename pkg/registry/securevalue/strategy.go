// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"fmt"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

// warnNothingOwns warns clients that set owner references in a standalone server, where they have no effect.
const warnNothingOwns = "metadata.ownerReferences: this server has no garbage collector: deleting the owner does " +
	"not delete the secure value"

// strategy defines how a SecureValue is created and changed. It does not encrypt: its hooks also run on a dry run and
// cannot return errors.
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

// PrepareForCreate sets the fields of the server and removes copies of the value.
func (strategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	sv := obj.(*secret.SecureValue)
	sv.Generation = 1
	sv.Status = secret.SecureValueStatus{Version: 1, Keeper: secret.KeeperSystem}
	dropCopiesOfTheValue(sv)
	stampCreate(ctx, sv)
}

// PrepareForUpdate keeps the status, and counts versions and generations.
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
		noteWarnings(ctx, unseenDecrypters(ctx, sv, stored), droppedSealedValue(sv, stored))
	}
	if newValue || changed(sv, stored) {
		stampUpdate(ctx, sv)
	}
}

// Validate returns all faults of a new object.
func (s strategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	return append(s.validator.Create(obj.(*secret.SecureValue)), sealedFaults(ctx)...)
}

// ValidateUpdate returns all faults of a changed object.
func (s strategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	stored := old.(*secret.SecureValue)
	errs := s.validator.Update(obj.(*secret.SecureValue), stored, valueRequired(ctx) && stored.DeletionTimestamp == nil)
	return append(errs, sealedFaults(ctx)...)
}

// WarningsOnCreate warns about owner references without a garbage collector.
func (s strategy) WarningsOnCreate(_ context.Context, obj runtime.Object) []string {
	return s.warnings(obj.(*secret.SecureValue), &secret.SecureValue{})
}

// WarningsOnUpdate warns about owner references without a garbage collector. It is called for each attempt of an
// update: warnings that depend on the stored object belong to REST.Update, which returns those of the last attempt.
func (s strategy) WarningsOnUpdate(_ context.Context, obj, old runtime.Object) []string {
	return s.warnings(obj.(*secret.SecureValue), old.(*secret.SecureValue))
}

// warnings are about what a write changes; stored is empty on create.
func (s strategy) warnings(sv, stored *secret.SecureValue) []string {
	if s.standalone && len(sv.OwnerReferences) > 0 &&
		!apiequality.Semantic.DeepEqual(sv.OwnerReferences, stored.OwnerReferences) {
		return []string{warnNothingOwns}
	}
	return nil
}

// Canonicalize does nothing: the order of decrypters is the writer's.
func (strategy) Canonicalize(runtime.Object) {}

// AllowCreateOnUpdate is false: a PUT of an absent name is 404 (secrets-management-http-api.md, "Update").
func (strategy) AllowCreateOnUpdate(context.Context) bool { return false }

// AllowUnconditionalUpdate is true: the document's PUT carries no resourceVersion.
func (strategy) AllowUnconditionalUpdate(context.Context) bool { return true }

// DefaultGarbageCollectionPolicy deletes dependents, as everywhere.
func (strategy) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	return rest.DeleteDependents
}

// GetResetFields keeps the value out of managedFields: it has no owner and never conflicts, and the last writer wins.
// Otherwise server-side apply would always conflict with a field that no live object shows.
func (strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{
		fieldpath.APIVersion(v1beta1.SchemeGroupVersion.String()): fieldpath.NewSet(
			fieldpath.MakePathOrDie("status"),
			fieldpath.MakePathOrDie("spec", "value"),
		),
	}
}

// attributes returns what selectors match: labels, name, namespace and one field for each decrypter.
func attributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	sv, ok := obj.(*secret.SecureValue)
	if !ok {
		return nil, nil, fmt.Errorf("selecting by attributes: expected a SecureValue, got %T", obj)
	}
	set := make(fields.Set, 2+len(sv.Spec.Decrypters))
	set["metadata.name"] = sv.Name
	set["metadata.namespace"] = sv.Namespace
	for _, name := range sv.Spec.Decrypters {
		set[secret.DecrypterSelectorPrefix+name] = "true"
	}
	return sv.Labels, set, nil
}

func match(label labels.Selector, field fields.Selector) storage.SelectionPredicate {
	return storage.SelectionPredicate{Label: label, Field: field, GetAttrs: attributes}
}

// maxMetadataEntries bounds labels, annotations, finalizers and owner references, each. Upstream has no bound, and the
// time to build its error text is quadratic in the number of faults: minutes for what fits into one body.
const maxMetadataEntries = 500

// checkMetadata refuses what upstream's validation must not see: a list that is too long, and a second controlling
// owner. Upstream prints the list of owners into the error of each further controller: a body of one megabyte, with
// twelve thousand controllers, would use up the memory.
func checkMetadata(obj runtime.Object) error {
	sv, ok := obj.(*secret.SecureValue)
	if !ok {
		return nil
	}
	path := field.NewPath("metadata")
	var errs field.ErrorList
	for _, list := range []struct {
		name string
		size int
	}{
		{"labels", len(sv.Labels)}, {"annotations", len(sv.Annotations)},
		{"finalizers", len(sv.Finalizers)}, {"ownerReferences", len(sv.OwnerReferences)},
	} {
		if list.size > maxMetadataEntries {
			errs = append(errs, field.TooMany(path.Child(list.name), list.size, maxMetadataEntries))
		}
	}
	// managedFields name what a request sets, so a list that is too long makes them too large as well.
	if err := validation.ManagedFields(sv.ManagedFields); err != nil && len(errs) == 0 {
		errs = append(errs, field.Invalid(path.Child("managedFields"), field.OmitValueType{}, err.Error()))
	}
	if at := secondController(sv.OwnerReferences); at >= 0 {
		errs = append(errs,
			field.Invalid(path.Child("ownerReferences").Index(at).Child("controller"), field.OmitValueType{},
				"only one reference can have controller set to true"))
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(secret.GroupKind, sv.Name, errs)
}

// secondController returns the index of the second controlling owner, or -1.
func secondController(owners []metav1.OwnerReference) int {
	first := slices.IndexFunc(owners, isController)
	if first < 0 {
		return -1
	}
	second := slices.IndexFunc(owners[first+1:], isController)
	if second < 0 {
		return -1
	}
	return first + 1 + second
}

func isController(owner metav1.OwnerReference) bool {
	return owner.Controller != nil && *owner.Controller
}
