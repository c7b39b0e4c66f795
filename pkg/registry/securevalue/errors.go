// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// retryAfterSeconds is what a client waits before it tries again while the key is out of reach, or the disk full.
const retryAfterSeconds = 1

// clientError turns an error of the store into what the contract promises: invalid input is 400 with its causes, a KMS that
// does not answer is 503, and a value that no retry opens is 500. The log gets the cause, the client a constant text.
func clientError(ctx context.Context, name string, err error) error {
	if operation, ok := errors.AsType[*sealed.OperationError](err); ok {
		klog.ErrorS(operation.Err, "Could not use a stored record or its encryption key", "operation", operation.Operation,
			"securevalue", klog.KRef(operation.Namespace, operation.Name), "audit-ID", audit.GetAuditIDTruncated(ctx))
		switch sealed.FaultOf(operation) {
		case sealed.ErrKeyMissing: //nolint:errorlint // FaultOf returns the sentinel itself
			return apierrors.NewInternalError(fmt.Errorf("the value of securevalue %q does not open: the server does not have its encryption key; nothing was changed, ask the operator", name))
		case sealed.ErrDamaged:
			if operation.Operation == sealed.ReadingRecord {
				return unreadable(name, operation)
			}
			return apierrors.NewInternalError(errors.New("the stored value does not open: its record was changed; nothing was written, ask the operator"))
		default:
			return keyUnavailable(name)
		}
	}
	if apierrors.IsConflict(err) && strings.Contains(err.Error(), "recondition") { // quotes the request, and the key in etcd
		return apierrors.NewConflict(secret.GroupResource, name,
			errors.New("its metadata.uid or metadata.resourceVersion is not the one that the request names; read it again"))
	}
	if err != nil && strings.Contains(err.Error(), "StorageError") { // quotes the key in etcd
		klog.ErrorS(err, "The storage refused a request", "securevalue", name, "audit-ID", audit.GetAuditIDTruncated(ctx))
		if apierrors.IsConflict(err) { // only upstream's deleter of unreadable records is left
			return apierrors.NewConflict(secret.GroupResource, name,
				errors.New("its record can be read; delete it without ignoreStoreReadErrorWithClusterBreakingPotential"))
		}
		return apierrors.NewInternalError(errors.New("the storage refused the request; the server's log has the reason"))
	}
	if reason := etcd.NoRoom(err); reason != nil {
		return noRoom(name, reason)
	}
	return badRequestForInvalid(err)
}

// unreadable says what to do about a record that is there and cannot be served.
func unreadable(name string, err error) error {
	if errors.Is(err, sealed.ErrMisplaced) {
		return apierrors.NewInternalError(fmt.Errorf("securevalue %q: %w: restore its record from a backup, or delete it and create it again",
			name, sealed.ErrMisplaced))
	}
	return apierrors.NewInternalError(fmt.Errorf(
		"the record of securevalue %q was changed, or written by a newer version of the server; nothing was changed, ask the operator", name))
}

// noRoom refuses a write that etcd has no room for. Reads go on, and the operator has an alert.
func noRoom(name string, reason error) error {
	refusedWrites.WithLabelValues(reasonLabels[reason]).Inc()
	return unavailable(name, fmt.Sprintf("%v: nothing was changed; reads and deletes go on, writes do when there is room", reason))
}

func keyUnavailable(name string) error {
	return unavailable(name, fmt.Sprintf(
		"the value of securevalue %q cannot be sealed or opened now: the encryption key is out of reach; nothing was changed, try again", name))
}

// unavailable is a 503 that clients repeat.
func unavailable(name, message string) error {
	status := apierrors.NewServiceUnavailable(message)
	status.ErrStatus.Details = &metav1.StatusDetails{
		Group: secret.GroupName, Kind: secret.Resource, Name: name, RetryAfterSeconds: retryAfterSeconds,
	}
	return status
}

// badRequestForInvalid sets the code of the user's document (400) on what upstream answers with 422. Reason and causes
// stay as they are, each cause once: upstream checks the metadata of an update several times over.
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
	seen := sets.New[metav1.StatusCause]() // a body can have tens of thousands of faults
	for _, cause := range causes {
		if !seen.Has(cause) {
			seen.Insert(cause)
			once = append(once, cause)
		}
	}
	return once
}

// patchError cleans what upstream says of a patch that does not apply: it quotes the whole patched document. Errors
// about the stored object (conflict, not found, forbidden, too large) pass.
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

// textNotApplied stands for every fault of a patch that cannot be repeated without quoting an object.
const textNotApplied = "check its syntax, its paths and tests, and the types of its fields"

// patchDetail finds the decoding error behind the quoted document. Only a text that safecodec wrote passes, and the
// names of unknown fields.
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
