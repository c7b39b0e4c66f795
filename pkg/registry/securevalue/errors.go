// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/safecodec"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

// retryAfterSeconds is the Retry-After of a 503: the key is unavailable or retired, or the disk full.
const retryAfterSeconds = 1

// clientError maps an error of the store to an API error: 400 with causes for invalid input, 503 if the KMS is
// unavailable or the write key retired, 500 for a value that no retry opens. The log gets the cause, the client a text
// that quotes nothing of it.
func clientError(ctx context.Context, name string, err error) error {
	if operation, ok := errors.AsType[*sealed.OperationError](err); ok {
		klog.ErrorS(operation.Err, "Could not use a stored record or its encryption key", "operation",
			operation.Operation,
			"securevalue", klog.KRef(operation.Namespace, operation.Name), "audit-ID", audit.GetAuditIDTruncated(ctx))
		switch sealed.FaultOf(operation) {
		case sealed.ErrKeyMissing: //nolint:errorlint // FaultOf returns the sentinel itself
			return apierrors.NewInternalError(fmt.Errorf("cannot decrypt securevalue %q: the server does not have "+
				"its encryption key; nothing was changed, ask the operator", name))
		case sealed.ErrDamaged:
			if operation.Operation == sealed.ReadingRecord {
				return unreadable(name, operation)
			}
			return apierrors.NewInternalError(errors.New("cannot decrypt the stored value: its record was changed; " +
				"nothing was written, ask the operator"))
		case sealed.ErrKeyRetired:
			return keyRetired(name, operation)
		default:
			return keyUnavailable(name)
		}
	}
	// quotes the request, and the key in etcd
	if apierrors.IsConflict(err) && strings.Contains(err.Error(), "recondition") {
		return apierrors.NewConflict(secret.GroupResource, name,
			errors.New("its metadata.uid or metadata.resourceVersion differs from the one in the request; read it "+
				"again"))
	}
	if err != nil && strings.Contains(err.Error(), "StorageError") { // quotes the key in etcd
		klog.ErrorS(err, "The storage refused a request", "securevalue", name, "audit-ID",
			audit.GetAuditIDTruncated(ctx))
		if apierrors.IsConflict(err) { // only upstream's deleter of unreadable records is left
			return apierrors.NewConflict(secret.GroupResource, name,
				errors.New("its record is readable; delete it without "+
					"ignoreStoreReadErrorWithClusterBreakingPotential"))
		}
		return apierrors.NewInternalError(errors.New("the storage refused the request; see the server's log"))
	}
	if reason := etcd.NoRoom(err); reason != nil {
		return noRoom(name, reason)
	}
	return badRequestForInvalid(err)
}

// unreadable is the error for a record that exists and cannot be served.
func unreadable(name string, err error) error {
	if errors.Is(err, sealed.ErrMisplaced) {
		return apierrors.NewInternalError(fmt.Errorf("securevalue %q: %w: restore its record from a backup, or "+
			"delete it and create it again",
			name, sealed.ErrMisplaced))
	}
	return apierrors.NewInternalError(fmt.Errorf(
		"the record of securevalue %q was changed, or written by a newer version of the server; nothing was "+
			"changed, ask the operator", name))
}

// noRoom refuses a write that etcd has no room for. Reads continue, and the operator gets an alert.
func noRoom(name string, reason error) error {
	refusedWrites.WithLabelValues(reasonLabels[reason]).Inc()
	return unavailable(name,
		fmt.Sprintf("%v: nothing was changed; reads and deletes still work, writes will when there is space", reason))
}

func keyUnavailable(name string) error {
	return unavailable(name, fmt.Sprintf(
		"cannot encrypt or decrypt securevalue %q: encryption key unavailable; nothing was changed, retry later", name))
}

// keyRetired refuses a write whose server lags behind a rotation. Another replica may accept it.
func keyRetired(name string, err error) error {
	key := "its first key"
	if retired, ok := errors.AsType[*sealed.RetiredError](err); ok {
		key = "key " + retired.Key
	}
	return unavailable(name, fmt.Sprintf("cannot encrypt securevalue %q: %s of this server is retired; nothing was "+
		"changed, retry later; the operator must put the new key first in its encryption configuration", name, key))
}

// unavailable is a 503 that clients retry.
func unavailable(name, message string) error {
	status := apierrors.NewServiceUnavailable(message)
	status.ErrStatus.Details = &metav1.StatusDetails{
		Group: secret.GroupName, Kind: secret.Resource, Name: name, RetryAfterSeconds: retryAfterSeconds,
	}
	return status
}

// badRequestForInvalid changes upstream's 422 to the 400 of the API documentation. Reason and causes are kept, without
// duplicates: upstream checks the metadata of an update several times.
func badRequestForInvalid(err error) error {
	var status *apierrors.StatusError
	if !errors.As(err, &status) || status.ErrStatus.Code != http.StatusUnprocessableEntity {
		return err
	}
	changed := *status
	changed.ErrStatus.Code = http.StatusBadRequest
	if details := status.ErrStatus.Details; details != nil {
		changed.ErrStatus.Details = details.DeepCopy()
		changed.ErrStatus.Details.Causes = onceEach(details.Causes)
	}
	return &changed
}

func onceEach(causes []metav1.StatusCause) []metav1.StatusCause {
	var once []metav1.StatusCause
	seen := sets.New[metav1.StatusCause]() // a body may have tens of thousands of faults
	for _, cause := range causes {
		if !seen.Has(cause) {
			seen.Insert(cause)
			once = append(once, cause)
		}
	}
	return once
}

// patchError replaces upstream's error for a patch that does not apply, which quotes the patched document. Errors about
// the stored object (conflict, not found, forbidden, too large) pass.
func patchError(name string, err error) error {
	switch apierrors.ReasonForError(err) {
	case metav1.StatusReasonConflict, metav1.StatusReasonNotFound, metav1.StatusReasonForbidden,
		metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonTimeout, metav1.StatusReasonServerTimeout:
		return err
	default:
		return invalidPatch(name, patchDetail(err))
	}
}

func invalidPatch(name, detail string) error {
	invalid := apierrors.NewInvalid(secret.GroupKind, name, nil)
	invalid.ErrStatus.Code = http.StatusBadRequest
	invalid.ErrStatus.Message = fmt.Sprintf("the patch of securevalue %q does not apply: %s", name, detail)
	invalid.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeFieldValueInvalid, Field: "patch", Message: detail,
	}}
	return invalid
}

// textNotApplied replaces the faults of a patch that quote an object.
const textNotApplied = "check its syntax, its paths and tests, and the types of its fields"

// patchDetail finds the decoding error after the quoted document. Only a text of safecodec passes, and the names of
// unknown fields.
func patchDetail(err error) string {
	if fields := undeclaredFields(err); fields != "" {
		return fields
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return textNotApplied
	}
	for _, cause := range status.Status().Details.Causes {
		quoted, ok := strings.CutPrefix(cause.Message, "Invalid value: ")
		if !ok {
			continue
		}
		document, err := strconv.QuotedPrefix(quoted)
		if err != nil {
			continue
		}
		detail := safecodec.SafeDetail(strings.TrimPrefix(quoted[len(document):], ": "))
		if detail != safecodec.ErrUndecodable.Error() {
			return detail
		}
	}
	return textNotApplied
}

// undeclaredField is the one fault of a server-side apply that names a field and quotes nothing else
// (sigs.k8s.io/structured-merge-diff typed/validate.go). Faults of other kinds in the same text are left out.
var undeclaredField = regexp.MustCompile(`(?m)[ :]\.([A-Za-z0-9_.-]{1,256}): field not declared in schema$`)

// undeclaredFields names the fields of an applied manifest that the API does not have; "" for other faults.
func undeclaredFields(err error) string {
	var faults []string
	for _, found := range undeclaredField.FindAllStringSubmatch(err.Error(), -1) {
		faults = append(faults, fmt.Sprintf("unknown field %q", found[1]))
	}
	return strings.Join(faults, ", ")
}
