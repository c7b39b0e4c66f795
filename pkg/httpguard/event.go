// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

const (
	// seeResponse stands for an error text: the client has it, and the code, the reason and the fields are kept here.
	seeResponse = "see the response"
	// seePolicy stands for the text of an annotation that is not known to be free of request material.
	seePolicy = "[redacted]"
)

// plainCodes are the failures whose texts name the object, the user, a field or a limit and never quote a body. All
// others are replaced: above all 400, 422 and 500, where upstream quotes what it could not read.
var plainCodes = sets.New[int32](
	http.StatusUnauthorized,
	http.StatusForbidden,
	http.StatusNotFound,
	http.StatusMethodNotAllowed,
	http.StatusNotAcceptable,
	http.StatusConflict,
	http.StatusGone,
	http.StatusRequestEntityTooLarge,
	http.StatusUnsupportedMediaType,
	http.StatusTooManyRequests,
	http.StatusServiceUnavailable,
	http.StatusGatewayTimeout,
)

// plainAnnotations are the domains whose annotations are made by the server from identities, rules and clocks. Those of
// admission are not among them: a patch of a webhook is an excerpt of the object.
var plainAnnotations = sets.New(
	"authentication.k8s.io",
	"authorization.k8s.io",
	"apiserver.latency.k8s.io",
	"k8s.io",
	secret.GroupName,
)

// redacted is a copy of the event without anything that a client can have sent in a body.
func redacted(ev *auditinternal.Event) *auditinternal.Event {
	// A shallow copy: what is changed below is replaced, not written to.
	out := *ev
	out.RequestObject = nil
	out.ResponseObject = nil
	out.ObjectRef = redactedRef(ev.ObjectRef)
	out.RequestURI = ScrubURI(ev.RequestURI)
	out.ResponseStatus = redactedStatus(ev.ResponseStatus)
	out.Annotations = redactedAnnotations(ev.Annotations)
	if isBusy(ev) && out.ResponseStatus != nil {
		status := *out.ResponseStatus
		status.Code = http.StatusTooManyRequests
		out.ResponseStatus = &status
	}
	return &out
}

// serverUID is the form of the uids that the server makes (RFC 9562).
var serverUID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// redactedRef drops a uid and a resourceVersion that no server made: both come out of the body.
func redactedRef(ref *auditinternal.ObjectReference) *auditinternal.ObjectReference {
	if ref == nil {
		return nil
	}
	out := *ref
	if !serverUID.MatchString(string(ref.UID)) {
		out.UID = ""
	}
	if _, err := strconv.ParseUint(ref.ResourceVersion, 10, 64); err != nil {
		out.ResourceVersion = ""
	}
	return &out
}

// isBusy reports whether the client got 429 where upstream's filter believes that it answered 401.
func isBusy(ev *auditinternal.Event) bool {
	return ev.Annotations[BusyAnnotation] != ""
}

// redactedStatus replaces the texts of a failure that may quote a body, and keeps code, reason and fields.
func redactedStatus(status *metav1.Status) *metav1.Status {
	if status == nil || plainCodes.Has(status.Code) || isSuccess(status) {
		return status
	}
	out := status.DeepCopy()
	if out.Message != "" {
		out.Message = seeResponse
	}
	if out.Details != nil {
		for i := range out.Details.Causes {
			out.Details.Causes[i].Message = ""
		}
	}
	return out
}

// isSuccess says whether nothing went wrong, by code and by word.
func isSuccess(status *metav1.Status) bool {
	return status.Status != metav1.StatusFailure && status.Code >= 200 && status.Code < 300
}

// redactedAnnotations replaces the texts of annotations from unknown domains.
func redactedAnnotations(annotations map[string]string) map[string]string {
	var out map[string]string
	for key := range annotations {
		domain, _, _ := strings.Cut(key, "/")
		if plainAnnotations.Has(domain) {
			continue
		}
		if out == nil {
			out = maps.Clone(annotations)
		}
		out[key] = seePolicy
	}
	if out == nil {
		return annotations
	}
	return out
}
