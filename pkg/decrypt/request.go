// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"errors"
	"fmt"

	apimachineryvalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
)

// normalise checks a request and drops repeated names. Its errors quote nothing but positions: what is no name may be
// anything, a value pasted into the wrong field included.
func (r *Request) normalise() error {
	if r.Namespace == "" {
		return errors.New("namespace is required")
	}
	if len(apimachineryvalidation.ValidateNamespaceName(r.Namespace, false)) > 0 {
		return errors.New("namespace must be a DNS-1123 label: up to 63 lower case letters, digits and '-'")
	}
	if len(r.Names) == 0 {
		return fmt.Errorf("names must have 1 to %d entries", MaxNames)
	}
	once := make([]string, 0, min(len(r.Names), MaxNames))
	seen := sets.New[string]()
	for i, name := range r.Names {
		if len(apimachineryvalidation.NameIsDNSSubdomain(name, false)) > 0 {
			return fmt.Errorf("%s must be a DNS-1123 subdomain: up to 253 lower case letters, digits, '-' and '.'", r.fieldOf(i))
		}
		if seen.Has(name) {
			continue
		}
		if len(once) == MaxNames {
			return fmt.Errorf("names has more than %d entries; ask for them in several calls", MaxNames)
		}
		seen.Insert(name)
		once = append(once, name)
	}
	r.Names = once
	return nil
}

// fieldOf names a name for a message.
func (r *Request) fieldOf(i int) string {
	if len(r.Names) == 1 {
		return "the name"
	}
	return fmt.Sprintf("names[%d]", i)
}
