// SPDX-License-Identifier: Apache-2.0

// Package validation checks SecureValue against the contract. It reports every fault at once, each by its field path,
// and never the value.
package validation

import (
	"slices"
	"unicode/utf8"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// AnyDecrypter in a list of allowed decrypters admits every well-formed name.
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
		errs = append(errs, field.Forbidden(path.Child("resourceVersion"), "must be left out of a new object"))
	}
	return append(errs, v.spec(&sv.Spec, nil, true)...)
}

// Update checks the spec of an object against the stored one. The registry checks the metadata of every update by
// itself (rest.ValidateUpdate), the name and namespace being immutable; doing it here as well would report each fault
// twice. valueRequired is set for a replacement that names no resourceVersion: it has seen no stored value that it
// could mean to keep.
func (v *Validator) Update(sv, old *secret.SecureValue, valueRequired bool) field.ErrorList {
	return v.spec(&sv.Spec, old.Spec.Decrypters, valueRequired)
}

func (v *Validator) spec(spec *secret.SecureValueSpec, kept []string, valueRequired bool) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateDescription(spec.Description, path.Child("description"))
	errs = append(errs, validateValue(spec.Value, path.Child("value"), valueRequired)...)
	errs = append(errs, v.decrypters(spec.Decrypters, kept, path.Child("decrypters"))...)
	if spec.Keeper != "" {
		errs = append(errs, field.Forbidden(path.Child("keeper"), `this server has the keeper "system" only; leave the field out`))
	}
	if spec.Ref != "" {
		errs = append(errs, field.Forbidden(path.Child("ref"),
			`references need a keeper other than "system", which this server does not have; set spec.value`))
	}
	return errs
}

// validateDescription counts characters, not bytes (secrets-management-http-api.md: "Up to 25 characters long").
func validateDescription(description string, path *field.Path) field.ErrorList {
	switch {
	case description == "":
		return field.ErrorList{field.Required(path, "say what the value is for")}
	case !utf8.ValidString(description):
		return field.ErrorList{field.Invalid(path, field.OmitValueType{}, "must be valid UTF-8")}
	case utf8.RuneCountInString(description) > secret.MaxDescriptionLength:
		return field.ErrorList{field.TooLongCharacters(path, "", secret.MaxDescriptionLength)}
	}
	return nil
}

func validateValue(value *sensitive.Value, path *field.Path, required bool) field.ErrorList {
	switch {
	case value == nil && !required:
		return nil
	case value == nil:
		return field.ErrorList{field.Required(path, "give the value, or keep the stored one by sending metadata.resourceVersion or a PATCH")}
	case len(*value) == 0:
		return field.ErrorList{field.Required(path, "must not be empty")}
	case len(*value) > secret.MaxValueBytes:
		return field.ErrorList{field.TooLong(path, "", secret.MaxValueBytes)}
	case !utf8.ValidString(value.Expose()):
		return field.ErrorList{field.Invalid(path, field.OmitValueType{}, "must be valid UTF-8")}
	}
	return nil
}

// decrypters admits a decrypter that is stored already, whatever the server's list says today: taking a name off the
// list must not make every object that names it impossible to edit.
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
		errs = append(errs, field.NotSupported(path, name, v.allowed))
	}
	return errs
}
