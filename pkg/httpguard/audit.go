// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/apiserver/pkg/audit"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// backend passes redacted events to its delegate.
type backend struct {
	delegate audit.Backend
}

var _ audit.Backend = (*backend)(nil)

// NewBackend wraps an audit backend so that no event that reaches it contains secret material. A nil backend, which
// means no audit log, stays nil.
func NewBackend(delegate audit.Backend) audit.Backend {
	if delegate == nil {
		return nil
	}
	return &backend{delegate: delegate}
}

// ProcessEvents passes on all events in order, redacted copies where needed.
func (b *backend) ProcessEvents(events ...*auditinternal.Event) bool {
	var out []*auditinternal.Event
	for i, ev := range events {
		if !concerns(ev) {
			continue
		}
		if out == nil {
			out = slices.Clone(events) // the caller's
		}
		out[i] = redacted(ev)
	}
	if out == nil {
		out = events
	}
	return b.delegate.ProcessEvents(out...)
}

// Run starts the delegate.
func (b *backend) Run(stopCh <-chan struct{}) error {
	return b.delegate.Run(stopCh)
}

// Shutdown stops the delegate.
func (b *backend) Shutdown() {
	b.delegate.Shutdown()
}

// String names the delegate.
func (b *backend) String() string {
	return "redact<" + b.delegate.String() + ">"
}

// concerns reports whether an event may contain material of a SecureValue. A request that was refused early has no
// object reference, so its URI counts as well; one that cannot be parsed counts as ours.
func concerns(ev *auditinternal.Event) bool {
	if ev == nil {
		return false
	}
	if ev.ObjectRef != nil && ev.ObjectRef.APIGroup == secret.GroupName || isBusy(ev) {
		return true
	}
	if ev.RequestURI == "" {
		return false
	}
	uri, err := url.ParseRequestURI(ev.RequestURI)
	return err != nil || IsSecretPath(uri.Path)
}

const (
	// seeResponse replaces an error text. Code, reason and fields are kept.
	seeResponse = "see the response"
	// seePolicy replaces the text of an annotation that may contain request material.
	seePolicy = "[redacted]"
)

// plainCodes are the failures whose texts never quote a body. The others are replaced: above all 400, 422 and 500,
// where upstream quotes what it could not read.
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

// plainAnnotations are the domains whose annotations the server makes from identities, rules and clocks. Admission is
// not among them: the patch of a webhook is an excerpt of the object.
var plainAnnotations = sets.New(
	"authentication.k8s.io",
	"authorization.k8s.io",
	"apiserver.latency.k8s.io",
	"k8s.io",
	secret.GroupName,
)

// redacted returns a copy of the event without anything that may come from a request body.
func redacted(ev *auditinternal.Event) *auditinternal.Event {
	out := *ev // shallow: what changes below is replaced
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

// serverUID matches UIDs made by a server (RFC 9562).
var serverUID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// redactedRef drops a uid and a resourceVersion that no server made: both come from the body.
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

// isBusy reports whether the client got 429 where upstream recorded 401.
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
