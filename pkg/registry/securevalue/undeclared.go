// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"fmt"
	"regexp"
	"strings"
)

// undeclaredField is the one fault of a server-side apply that names a field and quotes nothing else
// (sigs.k8s.io/structured-merge-diff typed/validate.go). Faults of other kinds in the same text are left out.
var undeclaredField = regexp.MustCompile(`(?m)[ :]\.([A-Za-z0-9_.-]{1,256}): field not declared in schema$`)

// undeclaredFields says which fields of an applied manifest the API does not have, and nothing when that is not the
// fault.
func undeclaredFields(err error) string {
	var faults []string
	for _, found := range undeclaredField.FindAllStringSubmatch(err.Error(), -1) {
		faults = append(faults, fmt.Sprintf("unknown field %q", found[1]))
	}
	return strings.Join(faults, ", ")
}
