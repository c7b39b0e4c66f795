// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// The texts of every refusal. A text may be followed by a position in the body, never by a byte of it.
const (
	textEmpty       = "the request body is empty: send a SecureValue"
	textEndedEarly  = "the request body is incomplete: send it again"
	textNoPlace     = "too many requests in flight, in total or from this caller; retry later"
	textBusyReviews = "too many token reviews in flight; retry later"
	textBusyBodies  = "too many request bodies in flight from this caller; retry later"
	textUnreadable  = "the request body could not be read: send it again"
	textNotUTF8     = "the request body is not valid UTF-8: encode text as UTF-8 and binary data as base64"
	textNotJSON     = "the request body is not valid JSON: correct it and send it again"
	textNotObject   = "the request body is not an object: send one SecureValue or one patch of it"
	textNotPatch    = "the request body is not a JSON patch: send an array of operations, each an object"
	textTooDeep     = "the request body is nested deeper than 100 levels: send a flatter one"
	textTooMany     = "the request body has an object or a list with more than 2000 members: send fewer; " +
		"at most 500 labels and 500 annotations are allowed"
	textSurrogate = "the request body has a lone surrogate escape: escape both halves of the pair or write the " +
		"character itself"
	textNotYAML    = "the request body is not valid YAML: correct it and send it again"
	textManyYAML   = "the request body has more than one YAML document: send one"
	textYAMLRefs   = "YAML anchors, aliases and tags are not accepted: write each value out, in quotes where needed"
	textYAMLMerge  = "YAML merge keys are not accepted: write each field out"
	textYAMLEscape = "the request body has an escaped surrogate pair, which YAML does not support: write the " +
		"character itself"
	textYAMLTwoWays  = "spec.value is ambiguous in YAML; put it in double quotes"
	textBadNamespace = "invalid namespace in URL: must not be '.' or '..' or contain '/' or '%'"
	textBadQuery     = "a query parameter has the wrong type: numbers must be integers, flags true or false"
	textMustBeString = "must be a string"
	textMustBeQuoted = "must be a string: put it in quotes"
	textMustBeObject = "must be an object"

	textNotDeleteOptions = "the request body must be DeleteOptions of v1 or meta.k8s.io/v1, or absent: " +
		"check kind, apiVersion and the types of the fields"
)

// TextSlowBody is the text for a body that did not arrive within BodyTimeout, on both ports.
var TextSlowBody = fmt.Sprintf("the request body did not arrive within %s: send it again", BodyTimeout)

// refuse is a 400 with a constant text.
func refuse(text string) error {
	return apierrors.NewBadRequest(text)
}

// refuseAt is a 400 with a constant text and a position in the body.
func refuseAt(text, unit string, position int) error {
	return apierrors.NewBadRequest(fmt.Sprintf("%s (%s %d)", text, unit, position))
}

// refuseBody returns the answer to a request whose body Receive could not read: 413 with the text of upstream's
// handlers, 408, 429 or 400.
func refuseBody(err error) error {
	if err == nil {
		return nil
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", tooLarge.Limit))
	}
	switch {
	case errors.Is(err, ErrBusy):
		return apierrors.NewTooManyRequests(textBusyBodies, RetryAfterSeconds)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusRequestTimeout, Reason: metav1.StatusReasonTimeout,
			Message: TextSlowBody,
		}}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return refuse(textEndedEarly)
	}
	return refuse(textUnreadable)
}

// refuseType is the 400 of a field of the wrong type, in the shape of a validation error.
func refuseType(path, text string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status:  metav1.StatusFailure,
		Code:    http.StatusBadRequest,
		Reason:  metav1.StatusReasonInvalid,
		Message: fmt.Sprintf("%s is invalid: %s: %s", secret.GroupKind, path, text),
		Details: &metav1.StatusDetails{
			Group: secret.GroupName,
			Kind:  secret.GroupKind.Kind,
			Causes: []metav1.StatusCause{{
				Type:    metav1.CauseType(field.ErrorTypeTypeInvalid),
				Field:   path,
				Message: text,
			}},
		},
	}}
}
