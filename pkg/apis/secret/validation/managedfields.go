// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Bounds of metadata.managedFields. Upstream bounds only the managers of updates, by merging them in time with the
// square of their number; those of server-side apply it keeps for ever, and every later read and write pays for them.
const (
	MaxManagers           = 100
	MaxManagedFieldsBytes = 128 << 10
)

// ErrManagedFields says which bounds metadata.managedFields has, and how to get below them.
var ErrManagedFields = fmt.Errorf("metadata.managedFields must have at most %d entries and %d KiB; write it as [{}] to drop all entries",
	MaxManagers, MaxManagedFieldsBytes>>10)

// ManagedFields returns ErrManagedFields for entries beyond the bounds.
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
