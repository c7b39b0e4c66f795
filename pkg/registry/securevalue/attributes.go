// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"fmt"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// attributes are what selectors see of an object: labels, name, namespace and one field for each decrypter.
func attributes(obj runtime.Object) (labels.Set, fields.Set, error) {
	sv, ok := obj.(*secret.SecureValue)
	if !ok {
		return nil, nil, fmt.Errorf("selecting by attributes: want a SecureValue, not %T", obj)
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
