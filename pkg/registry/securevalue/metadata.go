// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
)

// maxMetadataEntries bounds labels, annotations, finalizers and owner references, each. Upstream knows no bound, and
// its text of all faults takes time with the square of their number: minutes for what fits into one body.
const maxMetadataEntries = 500

// checkMetadata refuses what upstream's validation must not see: a list that is too long, and a second controlling
// owner. Upstream prints the whole list of owners into the fault of each further controller, so that one body of a
// megabyte, twelve thousand controllers, would take all memory.
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
	// The server lists in managedFields what a request sets, so a list that is too long makes these too large as well.
	if err := validation.ManagedFields(sv.ManagedFields); err != nil && len(errs) == 0 {
		errs = append(errs, field.Invalid(path.Child("managedFields"), field.OmitValueType{}, err.Error()))
	}
	if at := secondController(sv.OwnerReferences); at >= 0 {
		errs = append(errs, field.Invalid(path.Child("ownerReferences").Index(at).Child("controller"), field.OmitValueType{},
			"only one reference can have controller set to true"))
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(secret.GroupKind, sv.Name, errs)
}

// secondController is the index of the second owner that controls the object, -1 if there is none.
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
