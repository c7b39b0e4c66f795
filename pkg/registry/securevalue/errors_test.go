// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
)

func statusOf(t *testing.T, err error) metav1.Status {
	t.Helper()
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		t.Fatalf("not an API error: %v", err)
	}
	return status.Status()
}

// patchFault builds the error that upstream's patch handler makes: the whole patched object, quoted, then the detail
// (k8s.io/apiserver/pkg/endpoints/handlers/patch.go).
func patchFault(document, detail string) error {
	return apierrors.NewInvalid(schema.GroupKind{}, "",
		field.ErrorList{field.Invalid(field.NewPath("patch"), document, detail)})
}

func TestPatchErrorQuotesNothing(t *testing.T) {
	const undecodable = textNotApplied
	document := `{"spec":{"value":"` + canary + `","x":"\"quoted\": \\ ☃ ` + "\n" + `"}}`
	unknown := `strict decoding error: unknown field "spec.valeu"`
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"unknown field", patchFault(document, unknown), unknown},
		{"two faults", patchFault(document, unknown+`, duplicate field "spec.value"`), unknown +
			`, duplicate field "spec.value"`},
		{"JSON patch", patchFault(document, `strict decoding error: json patch unknown field "[0].x"`),
			`strict decoding error: json patch unknown field "[0].x"`},
		{"value not a string", patchFault(document, "spec.value must be a string"), "spec.value must be a string"},
		{"description not a string", patchFault(document, "spec.description must be a string"),
			"spec.description must be a string"},
		{"strategic merge's form", patchFault(fmt.Sprintf("%+v", map[string]any{"value": canary}), unknown), unknown},
		{"document holds a detail", patchFault(`": `+unknown+canary, undecodable), undecodable},
		{"detail holds the value", patchFault(document, "json: cannot unmarshal "+canary), undecodable},
		{"no detail", patchFault(document, ""), undecodable},
		{"unquoted", apierrors.NewInvalid(schema.GroupKind{}, "",
			field.ErrorList{field.Invalid(field.NewPath("patch"), map[string]string{"a": canary}, unknown)}),
			undecodable},
		{"bad request", apierrors.NewBadRequest("error decoding patch: invalid character in " + canary), undecodable},
		{"JSON patch does not apply", apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "",
			schema.GroupResource{}, "", "testing value "+canary+" failed", 0, false), undecodable},
		{"apply's 500", apierrors.NewInternalError(errors.New(".spec.value: expected string, got " + canary)),
			undecodable},
		{"no API error", errors.New(canary), undecodable},
		{"wrapped", fmt.Errorf("wrapped: %w", patchFault(document, unknown)), unknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := patchError("api-key", tt.err)
			wantNoCanary(t, got)
			if errors.Unwrap(got) != nil {
				t.Error("the quoted document is still reachable")
			}
			want := metav1.Status{
				Status: metav1.StatusFailure, Code: http.StatusBadRequest, Reason: metav1.StatusReasonInvalid,
				Message: `the patch of securevalue "api-key" does not apply: ` + tt.want,
				Details: &metav1.StatusDetails{
					Name: "api-key", Group: "secret.grafana.app", Kind: "SecureValue",
					Causes: []metav1.StatusCause{{Type: metav1.CauseTypeFieldValueInvalid, Field: "patch",
						Message: tt.want}},
				},
			}
			if diff := cmp.Diff(want, statusOf(t, got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// What upstream says of the stored object, and not of the patch, passes as it is.
func TestPatchErrorPasses(t *testing.T) {
	for _, err := range otherErrors() {
		if got := patchError("api-key", err); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
}

func otherErrors() []error {
	return []error{
		apierrors.NewConflict(secret.GroupResource, "api-key", errors.New("the object has been modified")),
		apierrors.NewApplyConflict([]metav1.StatusCause{{Field: ".spec.description"}}, "conflict with another manager"),
		apierrors.NewNotFound(secret.GroupResource, "api-key"),
		apierrors.NewForbidden(secret.GroupResource, "api-key", errors.New("no")),
		apierrors.NewRequestEntityTooLargeError("limit is 1048576"),
		apierrors.NewTimeoutError("later", 1),
		apierrors.NewServerTimeout(secret.GroupResource, "update", 1),
	}
}

func TestClientErrorPasses(t *testing.T) {
	for _, err := range append(otherErrors(), apierrors.NewAlreadyExists(secret.GroupResource, "api-key"),
		errors.New("plain")) {
		if got := clientError(t.Context(), "api-key", err); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
	if clientError(t.Context(), "api-key", nil) != nil {
		t.Error("nil became an error")
	}
}

// The user's document answers 400 where upstream answers 422; reason, message and causes are upstream's.
func TestInvalidIsBadRequest(t *testing.T) {
	label := field.Invalid(field.NewPath("metadata", "labels"), "b c", "bad")
	upstream := apierrors.NewInvalid(secret.GroupKind, "api-key", field.ErrorList{
		field.Required(field.NewPath("spec", "value"), "must not be empty"), label, label,
		field.TooLongCharacters(field.NewPath("spec", "description"), "", 25),
	})
	for name, err := range map[string]error{"plain": upstream, "wrapped": fmt.Errorf("storing: %w", upstream)} {
		t.Run(name, func(t *testing.T) {
			got := statusOf(t, clientError(t.Context(), "api-key", err))
			want := upstream.ErrStatus.DeepCopy()
			want.Code = http.StatusBadRequest
			causes := upstream.ErrStatus.Details.Causes
			want.Details.Causes = []metav1.StatusCause{causes[0], causes[1], causes[3]}
			if diff := cmp.Diff(*want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if upstream.ErrStatus.Code != http.StatusUnprocessableEntity ||
				len(upstream.ErrStatus.Details.Causes) != 4 {
				t.Error("the original error was changed")
			}
		})
	}
}

// A record that was changed in etcd never opens, so nobody is told to try again.
func TestChangedRecordIsInternalError(t *testing.T) {
	cause := &sealed.OperationError{Operation: "opening", Namespace: "default", Name: "api-key", Err: sealed.ErrBound}
	got := statusOf(t, clientError(t.Context(), "api-key", fmt.Errorf("storing: %w", cause)))
	if got.Code != http.StatusInternalServerError || got.Details.RetryAfterSeconds != 0 {
		t.Errorf("want a 500 without Retry-After, got %+v", got)
	}
}

// An unavailable key is 503 with a constant text: what a key provider says is for the log alone.
func TestOperationErrorIsUnavailable(t *testing.T) {
	var buf bytes.Buffer
	klog.SetLogger(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&buf))))
	t.Cleanup(klog.ClearLogger)
	cause := &sealed.OperationError{Operation: "sealing", Namespace: "default", Name: "api-key",
		Err: errors.New("kms: connection refused")}
	got := clientError(t.Context(), "api-key", fmt.Errorf("storing: %w", cause))
	want := metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable,
		Reason: metav1.StatusReasonServiceUnavailable,
		Message: `cannot encrypt or decrypt securevalue "api-key": encryption key unavailable; nothing was ` +
			`changed, retry later`,
		Details: &metav1.StatusDetails{Group: "secret.grafana.app", Kind: "securevalues", Name: "api-key",
			RetryAfterSeconds: 1},
	}
	if diff := cmp.Diff(want, statusOf(t, got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if seconds, ok := apierrors.SuggestsClientDelay(got); !ok || seconds != 1 {
		t.Error("no Retry-After")
	}
	if strings.Contains(fmt.Sprintf("%+v %#v", got, got), "kms") || errors.Is(got, cause) {
		t.Errorf("the client reads what the key provider said: %v", got)
	}
	for _, part := range []string{"connection refused", `operation="sealing"`, `securevalue="default/api-key"`} {
		if !strings.Contains(buf.String(), part) {
			t.Errorf("the log misses %s: %s", part, buf.String())
		}
	}
}

// A retired key is 503 too: another replica may have the new one first. The text names the key, which status.key shows.
func TestRetiredKeyIsUnavailable(t *testing.T) {
	cause := &sealed.OperationError{Operation: sealed.Sealing, Namespace: "default", Name: "api-key",
		Err: &sealed.RetiredError{Key: "aesgcm/old"}}
	got := statusOf(t, clientError(t.Context(), "api-key", fmt.Errorf("storing: %w", cause)))
	want := metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusServiceUnavailable,
		Reason: metav1.StatusReasonServiceUnavailable,
		Message: `cannot encrypt securevalue "api-key": key aesgcm/old of this server is retired; nothing was ` +
			`changed, retry later; the operator must put the new key first in its encryption configuration`,
		Details: &metav1.StatusDetails{Group: "secret.grafana.app", Kind: "securevalues", Name: "api-key",
			RetryAfterSeconds: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestUndeclaredFields(t *testing.T) {
	const prefix = "failed to create typed patch object (default/x; secret.grafana.app/v1beta1, Kind=SecureValue): "
	for _, test := range []struct{ name, text, want string }{
		{"one", prefix + ".spec.vlaue: field not declared in schema", `unknown field "spec.vlaue"`},
		{
			"two", prefix + "errors:\n  .spec.vlaue: field not declared in schema\n  .sepc: field not declared in " +
				"schema",
			`unknown field "spec.vlaue", unknown field "sepc"`,
		},
		{
			"beside a wrong type", prefix + "errors:\n  .spec.value: expected string, got &{canary}\n  .sepc: " +
				"field not declared in schema",
			`unknown field "sepc"`,
		},
		{"a wrong type alone", prefix + ".spec.value: expected string, got &{canary}", ""},
		{"a value that looks like a fault", prefix +
			".spec.value: expected string, got &{.canary: field not declared in schema}", ""},
		{"a key that quotes something", prefix + `.spec.items[name="canary"]: field not declared in schema`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := undeclaredFields(errors.New(test.text)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
