// SPDX-License-Identifier: Apache-2.0

// Package validation checks SecureValue against the contract. It returns all faults, each with its field path, and
// never the value.
package validation

import (
	"fmt"
	"slices"
	"unicode/utf8"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// AnyDecrypter in a list of allowed decrypters allows every valid name.
const AnyDecrypter = "*"

// Validator checks objects against the contract and the server's list of allowed decrypters.
type Validator struct {
	allowed []string
	any     bool
}

// New returns a Validator. allowed is the list of --allowed-decrypters.
func New(allowed []string) *Validator {
	sorted := slices.Sorted(slices.Values(allowed))
	return &Validator{allowed: sorted, any: slices.Contains(sorted, AnyDecrypter)}
}

// Create checks a new object, whose value is required.
func (v *Validator) Create(sv *secret.SecureValue) field.ErrorList {
	path := field.NewPath("metadata")
	errs := apivalidation.ValidateObjectMeta(&sv.ObjectMeta, true, apivalidation.NameIsDNSSubdomain, path)
	if sv.ResourceVersion != "" && sv.ResourceVersion != "0" { // storage answers 500
		errs = append(errs, field.Forbidden(path.Child("resourceVersion"), "must not be set on a new object"))
	}
	return append(errs, v.spec(&sv.Spec, nil, true)...)
}

// Update checks the spec of an object against the stored one. The metadata is checked by the registry
// (rest.ValidateUpdate); checking it here too would report each fault twice. valueRequired is set for a PUT without
// resourceVersion: its client has seen no stored value to keep.
func (v *Validator) Update(sv, old *secret.SecureValue, valueRequired bool) field.ErrorList {
	return v.spec(&sv.Spec, old.Spec.Decrypters, valueRequired)
}

func (v *Validator) spec(spec *secret.SecureValueSpec, kept []string, valueRequired bool) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateDescription(spec.Description, path.Child("description"))
	// What is wrong with a text is found when it is opened, before this.
	errs = append(errs, Value(spec.Value, path.Child("value"), valueRequired && spec.SealedValue == "")...)
	errs = append(errs, v.decrypters(spec.Decrypters, kept, path.Child("decrypters"))...)
	if spec.Keeper != "" {
		errs = append(errs,
			field.Forbidden(path.Child("keeper"), `the only keeper of this server is "system"; omit the field`))
	}
	if spec.Ref != "" {
		errs = append(errs, field.Forbidden(path.Child("ref"),
			`references require a keeper other than "system", which this server does not have; set spec.value`))
	}
	return errs
}

// validateDescription counts characters, not bytes (secrets-management-http-api.md: "Up to 25 characters long").
func validateDescription(description string, path *field.Path) field.ErrorList {
	switch {
	case description == "":
		return field.ErrorList{field.Required(path, "describe what the value is for")}
	case !utf8.ValidString(description):
		return field.ErrorList{field.Invalid(path, field.OmitValueType{}, "must be valid UTF-8")}
	case utf8.RuneCountInString(description) > secret.MaxDescriptionLength:
		return field.ErrorList{field.TooLongCharacters(path, "", secret.MaxDescriptionLength)}
	}
	return nil
}

// Value checks a value: 1 to MaxValueBytes bytes of UTF-8.
func Value(value *sensitive.Value, path *field.Path, required bool) field.ErrorList {
	switch {
	case value == nil && !required:
		return nil
	case value == nil:
		return field.ErrorList{field.Required(path,
			"set the value, or keep the stored one by sending metadata.resourceVersion or a PATCH")}
	case len(*value) == 0:
		return field.ErrorList{field.Required(path, "must not be empty")}
	case len(*value) > secret.MaxValueBytes:
		return field.ErrorList{field.TooLong(path, "", secret.MaxValueBytes)}
	case !utf8.ValidString(value.Expose()):
		return field.ErrorList{field.Invalid(path, field.OmitValueType{}, "must be valid UTF-8")}
	}
	return nil
}

// decrypters accepts a stored decrypter even if the server's list has no longer its name: otherwise objects with that
// name could not be edited.
func (v *Validator) decrypters(decrypters, kept []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(decrypters) > secret.MaxDecrypters {
		errs = append(errs, field.TooMany(path, len(decrypters), secret.MaxDecrypters))
		decrypters = decrypters[:secret.MaxDecrypters]
	}
	seen := make(map[string]bool, len(decrypters))
	for i, name := range decrypters {
		switch at := path.Index(i); {
		case seen[name]:
			errs = append(errs, field.Duplicate(at, name))
		case name == "":
			errs = append(errs, field.Required(at, "must not be empty"))
		default:
			errs = append(errs, v.decrypter(name, slices.Contains(kept, name), at)...)
		}
		seen[name] = true
	}
	return errs
}

func (v *Validator) decrypter(name string, kept bool, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, fault := range utilvalidation.IsValidLabelValue(name) {
		errs = append(errs, field.Invalid(path, field.OmitValueType{}, fault))
	}
	if len(errs) == 0 && !v.any && !kept && !slices.Contains(v.allowed, name) {
		unknown := field.NotSupported(path, name, v.allowed)
		unknown.Detail += "; the server's flag --allowed-decrypters adds others"
		errs = append(errs, unknown)
	}
	return errs
}

// Bounds of metadata.managedFields. Upstream bounds only the managers of updates, by merging them in quadratic time; it
// keeps those of server-side apply forever, at a cost for every later read and write.
const (
	MaxManagers           = 100
	MaxManagedFieldsBytes = 128 << 10
)

// ErrManagedFields reports that metadata.managedFields is too large.
var ErrManagedFields = fmt.Errorf("metadata.managedFields must have at most %d entries and %d KiB; set it to [{}] "+
	"to drop all entries",
	MaxManagers, MaxManagedFieldsBytes>>10)

// ManagedFields returns ErrManagedFields if the entries exceed the bounds.
func ManagedFields(entries []metav1.ManagedFieldsEntry) error {
	size := 0
	for _, entry := range entries {
		size += len(entry.Manager) + len(entry.APIVersion) + len(entry.FieldsType) + len(entry.Subresource)
		if entry.FieldsV1 != nil {
			size += len(entry.FieldsV1.GetRawBytes())
		}
	}
	if len(entries) > MaxManagers || size > MaxManagedFieldsBytes {
		return ErrManagedFields
	}
	return nil
}
