// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// verb puts the verb of a request into its context, as the filters in front of the handlers do.
func verb(ctx context.Context, name string) context.Context {
	return request.WithRequestInfo(ctx, &request.RequestInfo{Verb: name})
}

func TestValueRequired(t *testing.T) {
	tests := []struct {
		name, verb, resourceVersion string
		want                        bool
	}{
		{"PUT without a resourceVersion", "update", "", true},
		{"PUT with a resourceVersion", "update", "7", false},
		{"PUT with a resourceVersion that names none", "update", "0", true},
		{"PUT with zeros for a resourceVersion", "update", "00", true},
		{"PATCH", "patch", "", false},
		{"PATCH with a resourceVersion", "patch", "7", false},
		{"no request info", "", "", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := as(t, "alice")
			if tt.verb != "" {
				ctx = verb(ctx, tt.verb)
			}
			ctx, update := withWriteRequest(ctx, false)
			sv := requested()
			sv.ResourceVersion = tt.resourceVersion
			info := updatedObject{UpdatedObjectInfo: rest.DefaultUpdatedObjectInfo(sv), request: update, name: sv.Name}
			got, err := info.UpdatedObject(ctx, stored())
			if err != nil || got.(*secret.SecureValue).ResourceVersion != tt.resourceVersion {
				t.Fatalf("got %v, %v", got, err)
			}
			// registry.Store fills it in afterwards.
			got.(*secret.SecureValue).ResourceVersion = "7"
			if valueRequired(ctx) != tt.want {
				t.Errorf("want value required: %t", tt.want)
			}
		})
	}
	if valueRequired(t.Context()) {
		t.Error("outside of an update nothing is required")
	}
}

func TestUpdatedObjectCleansErrors(t *testing.T) {
	ctx, update := withWriteRequest(as(t, "alice"), false)
	failing := rest.DefaultUpdatedObjectInfo(requested(),
		func(context.Context, runtime.Object, runtime.Object) (runtime.Object, error) {
			return nil, patchFault(`{"spec":{"value":"`+canary+`"}}`, `strict decoding error: unknown field "spec.x"`)
		})
	_, err := updatedObject{UpdatedObjectInfo: failing, request: update, name: "api-key"}.UpdatedObject(ctx, stored())
	wantNoCanary(t, err)
	if status := statusOf(t, err); status.Code != 400 ||
		status.Details.Causes[0].Message != `strict decoding error: unknown field "spec.x"` {
		t.Errorf("got %+v", status)
	}
}

// answer is an authorizer that records what it was asked.
func answer(asked *[]authorizer.AttributesRecord, decision authorizer.Decision, err error) authorizer.Authorizer {
	return authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string,
		error) {
		*asked = append(*asked, a.(authorizer.AttributesRecord))
		return decision, "because", err
	})
}

// Write access must not become read access: adding a decrypter to a stored value needs the value, or the verb extend.
func TestGuardDecrypters(t *testing.T) {
	const allow, deny, none = authorizer.DecisionAllow, authorizer.DecisionDeny, authorizer.DecisionNoOpinion
	added := []string{"k6-cloud", "synthetic-monitoring"}
	broken := errors.New("the authorizer is unavailable")
	tests := []struct {
		name       string
		decrypters []string
		value      *sensitive.Value
		decision   authorizer.Decision
		err        error
		code       int32
		asks       bool
	}{
		{name: "unchanged", decrypters: []string{"k6-cloud"}, decision: deny},
		{name: "removed", decrypters: nil, decision: deny},
		{name: "added with a value", decrypters: added, value: sensitive.New(canary), decision: deny},
		{name: "added, allowed", decrypters: added, decision: allow, asks: true},
		{name: "added, denied", decrypters: added, decision: deny, code: 403, asks: true},
		{name: "added, no opinion", decrypters: added, decision: none, code: 403, asks: true},
		{name: "exchanged, denied", decrypters: []string{"synthetic-monitoring"}, decision: deny, code: 403,
			asks: true},
		{name: "authorizer broken", decrypters: added, decision: none, err: broken, code: 500, asks: true},
		{name: "authorizer denies with an error", decrypters: added, decision: deny, err: broken, code: 500,
			asks: true},
		{name: "authorizer allows with an error", decrypters: added, decision: allow, err: broken, asks: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var asked []authorizer.AttributesRecord
			r, validated := &REST{authorizer: answer(&asked, tt.decision, tt.err)}, false
			next := func(context.Context, runtime.Object, runtime.Object) error { validated = true; return nil }
			sv := stored()
			sv.Spec.Decrypters, sv.Spec.Value = tt.decrypters, tt.value
			err := r.guardDecrypters(next)(as(t, "alice"), sv, stored())
			wantCode(t, err, tt.code)
			if validated != (tt.code == 0) {
				t.Errorf("validated further: %t", validated)
			}
			if (len(asked) == 1) != tt.asks {
				t.Fatalf("asked %d times", len(asked))
			}
			if tt.asks {
				wantExtendAsked(t, asked[0])
			}
		})
	}
}

func wantCode(t *testing.T, err error, code int32) {
	t.Helper()
	if code == 0 {
		if err != nil {
			t.Fatalf("got %v", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("passed, want %d", code)
	}
	if got := statusOf(t, err).Code; got != code {
		t.Fatalf("got %d: %v", got, err)
	}
}

// wantExtendAsked checks the question: about the stored object, by the caller, with the group and version named.
func wantExtendAsked(t *testing.T, asked authorizer.AttributesRecord) {
	t.Helper()
	got := map[string]string{
		"user": asked.GetUser().GetName(), "verb": asked.Verb, "namespace": asked.Namespace, "name": asked.Name,
		"group": asked.APIGroup, "version": asked.APIVersion, "resource": asked.Resource,
	}
	want := map[string]string{
		"user": "alice", "verb": "extend", "namespace": "default", "name": "api-key",
		"group": "secret.grafana.app", "version": "v1beta1", "resource": "securevalues",
	}
	if diff := cmp.Diff(want, got); diff != "" || !asked.ResourceRequest {
		t.Errorf("resource request %t, -want +got:\n%s", asked.ResourceRequest, diff)
	}
}

// The request's own object must not be able to choose the namespace or name that is asked about.
func TestGuardAsksAboutTheStoredObject(t *testing.T) {
	var asked []authorizer.AttributesRecord
	r := &REST{authorizer: answer(&asked, authorizer.DecisionDeny, nil)}
	sv := stored()
	sv.Namespace, sv.Name, sv.Spec.Decrypters = "mine", "mine", []string{"synthetic-monitoring"}
	if err := r.guardDecrypters(nil)(as(t, "alice"), sv, stored()); err == nil || len(asked) != 1 {
		t.Fatalf("got %v after %d questions", err, len(asked))
	}
	wantExtendAsked(t, asked[0])
}

func TestGuardFailsClosed(t *testing.T) {
	sv := stored()
	sv.Spec.Decrypters = []string{"synthetic-monitoring"}
	var asked []authorizer.AttributesRecord
	for name, tt := range map[string]struct {
		rest *REST
		user string
	}{
		"no authorizer": {&REST{}, "alice"},
		"no user":       {&REST{authorizer: answer(&asked, authorizer.DecisionAllow, nil)}, ""},
	} {
		err := tt.rest.guardDecrypters(nil)(as(t, tt.user), sv, stored())
		if !apierrors.IsForbidden(err) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if len(asked) != 0 {
		t.Error("the authorizer was asked about nobody")
	}
}

func TestGuardPassesOn(t *testing.T) {
	refused := errors.New("admission refuses")
	r := &REST{}
	next := func(context.Context, runtime.Object, runtime.Object) error { return refused }
	if err := r.guardDecrypters(next)(as(t, "alice"), stored(), stored()); !errors.Is(err, refused) {
		t.Errorf("got %v", err)
	}
	if err := r.guardDecrypters(nil)(as(t, "alice"), stored(), stored()); err != nil {
		t.Errorf("got %v", err)
	}
}

// No object leaves a REST method with a value or with ciphertext.
func TestWithoutPlaintext(t *testing.T) {
	sv := requested()
	sv.Sealed = []byte("ciphertext")
	if got := withoutPlaintext(sv).(*secret.SecureValue); got.Spec.Value != nil || got.Sealed != nil ||
		got.Name != "api-key" {
		t.Error("want the object without value and ciphertext")
	}
	status := &metav1.Status{Status: metav1.StatusSuccess}
	if withoutPlaintext(status) != runtime.Object(status) || withoutPlaintext(nil) != nil {
		t.Error("other objects pass")
	}
}

func TestNames(t *testing.T) {
	r := &REST{}
	if diff := cmp.Diff([]string{"sv"}, r.ShortNames()); diff != "" {
		t.Error(diff)
	}
	if len(r.Categories()) != 0 {
		t.Error("kubectl get all must not list secrets")
	}
	if nameOf(requested()) != "api-key" || nameOf(&metav1.Status{}) != "" {
		t.Error("wrong name")
	}
}

func TestResourceVersion(t *testing.T) {
	for version, good := range map[string]bool{
		"": true, "0": true, "7": true, "18446744073709551615": true, "x": false, "-1": false, "7 ": false,
		"18446744073709551616": false,
	} {
		sv := &secret.SecureValue{}
		sv.ResourceVersion = version
		_, err := resourceVersion(sv)
		if (err == nil) != good {
			t.Errorf("%q: got %v", version, err)
		}
		if err == nil {
			continue
		}
		status := statusOf(t, clientError(t.Context(), "api-key", err))
		if status.Code != http.StatusBadRequest || status.Details.Causes[0].Field != "metadata.resourceVersion" {
			t.Errorf("%q: want 400 for metadata.resourceVersion, got %+v", version, status)
		}
	}
}
