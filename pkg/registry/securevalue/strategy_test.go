// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

func TestPrepareForCreate(t *testing.T) {
	sv := requested()
	sv.Generation = 99
	sv.Status = secret.SecureValueStatus{Version: 99, Keeper: "other", Key: "forged"}
	sv.Annotations = map[string]string{
		secret.AnnotationCreatedBy: "forged", secret.AnnotationUpdatedBy: "forged",
		secret.AnnotationUpdatedTimestamp:    "forged",
		secret.AnnotationDecryptersChangedBy: "forged", secret.AnnotationDecryptersAddedBy: "{}",
		secret.AnnotationDecryptersKeptBy:  `["alice"]`,
		secret.AnnotationValueRevision:     "1",
		corev1.LastAppliedConfigAnnotation: `{"spec":{"description":"d","value":"` + canary + `"}}`,
	}
	testStrategy().PrepareForCreate(as(t, "alice"), sv)
	if sv.Generation != 1 || sv.Status != (secret.SecureValueStatus{Version: 1, Keeper: "system"}) {
		t.Errorf("got generation %d and status %+v", sv.Generation, sv.Status)
	}
	want := map[string]string{
		secret.AnnotationCreatedBy: "alice", secret.AnnotationValueRevision: "1",
		corev1.LastAppliedConfigAnnotation: `{"spec":{"description":"d"}}` + "\n",
	}
	if diff := cmp.Diff(want, sv.Annotations); diff != "" {
		t.Errorf("annotations -want +got:\n%s", diff)
	}
	if sv.Spec.Value == nil || sv.Spec.Value.Expose() != canary {
		t.Error("the value must go on to the sealing store")
	}
}

func TestPrepareForCreateByNobody(t *testing.T) {
	sv := requested()
	sv.Annotations = map[string]string{secret.AnnotationCreatedBy: "forged"}
	testStrategy().PrepareForCreate(as(t, ""), sv)
	if len(sv.Annotations) != 0 {
		t.Errorf("got %v", sv.Annotations)
	}
}

func TestPrepareForUpdateCounts(t *testing.T) {
	tests := []struct {
		name                string
		change              func(*secret.SecureValue)
		version, generation int64
	}{
		{"nothing", func(*secret.SecureValue) {}, 2, 3},
		{"new value", func(sv *secret.SecureValue) { sv.Spec.Value = sensitive.New(canary) }, 3, 4},
		{"description", func(sv *secret.SecureValue) { sv.Spec.Description = "other" }, 2, 4},
		{"decrypters", func(sv *secret.SecureValue) { sv.Spec.Decrypters = nil }, 2, 4},
		{"order of decrypters", func(sv *secret.SecureValue) {
			sv.Spec.Decrypters = []string{"synthetic-monitoring",
				"k6-cloud"}
		}, 2, 4},
		{"value and description", func(sv *secret.SecureValue) {
			sv.Spec.Value, sv.Spec.Description = sensitive.New(canary), "other"
		}, 3, 4},
		{"label", func(sv *secret.SecureValue) { sv.Labels = map[string]string{"a": "b"} }, 2, 3},
		{"status", func(sv *secret.SecureValue) {
			sv.Status = secret.SecureValueStatus{Version: 99, Keeper: "forged", Key: "forged"}
		}, 2, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sv, old := stored(), stored()
			if tt.name == "order of decrypters" {
				old.Spec.Decrypters = []string{"k6-cloud", "synthetic-monitoring"}
			}
			tt.change(sv)
			testStrategy().PrepareForUpdate(as(t, "carol"), sv, old)
			want := secret.SecureValueStatus{Version: tt.version, Keeper: "system", Key: "aesgcm/k1"}
			if sv.Status != want || sv.Generation != tt.generation {
				t.Errorf("got status %+v and generation %d, want %+v and %d", sv.Status, sv.Generation, want,
					tt.generation)
			}
		})
	}
}

func TestStampsOfUpdate(t *testing.T) {
	tests := []struct {
		name    string
		change  func(*secret.SecureValue)
		stamped bool
	}{
		{"nothing", func(*secret.SecureValue) {}, false},
		{"a PUT that leaves the stamps out", func(sv *secret.SecureValue) { sv.Annotations = nil }, false},
		{"forged stamps", func(sv *secret.SecureValue) {
			for _, key := range serverAnnotations {
				sv.Annotations[key] = "forged"
			}
		}, false},
		{"managed fields alone",
			func(sv *secret.SecureValue) { sv.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "m"}} }, false},
		{"empty lists for absent ones", func(sv *secret.SecureValue) {
			sv.Labels, sv.Finalizers = map[string]string{},
				[]string{}
		}, false},
		{"new value", func(sv *secret.SecureValue) { sv.Spec.Value = sensitive.New(canary) }, true},
		{"new value, stamps left out", func(sv *secret.SecureValue) {
			sv.Spec.Value,
				sv.Annotations = sensitive.New(canary), nil
		}, true},
		{"description", func(sv *secret.SecureValue) { sv.Spec.Description = "other" }, true},
		{"label", func(sv *secret.SecureValue) { sv.Labels = map[string]string{"a": "b"} }, true},
		{"annotation", func(sv *secret.SecureValue) { sv.Annotations[secret.AnnotationValueRevision] = "2" }, true},
		{"finalizer", func(sv *secret.SecureValue) { sv.Finalizers = []string{"a/b"} }, true},
		{"owner", func(sv *secret.SecureValue) { sv.OwnerReferences = []metav1.OwnerReference{{Name: "o"}} }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sv, before := stored(), time.Now().UTC().Truncate(time.Second)
			tt.change(sv)
			testStrategy().PrepareForUpdate(as(t, "carol"), sv, stored())
			if got := sv.Annotations[secret.AnnotationCreatedBy]; got != "alice" {
				t.Errorf("created by %q, want alice", got)
			}
			by, at := sv.Annotations[secret.AnnotationUpdatedBy], sv.Annotations[secret.AnnotationUpdatedTimestamp]
			if !tt.stamped {
				if by != "bob" || at != "2024-01-15T10:35:00Z" {
					t.Errorf("a no-op left a stamp: %q at %q", by, at)
				}
				return
			}
			moment, err := time.Parse(time.RFC3339, at)
			if by != "carol" || err != nil || moment.Before(before) {
				t.Errorf("got %q at %q", by, at)
			}
		})
	}
}

// A dry run of a new value stores none, and must look like the live object: a tool that compares the two would see
// drift for ever. What else it changes shows.
func TestDryRunOfAValueLooksLikeTheLiveObject(t *testing.T) {
	ctx, _ := withWriteRequest(as(t, "carol"), true)
	sv := stored()
	sv.Spec.Value = sensitive.New(canary)
	testStrategy().PrepareForUpdate(ctx, sv, stored())
	sv.Spec.Value = nil
	if diff := cmp.Diff(stored(), sv); diff != "" {
		t.Errorf("-live +dry run:\n%s", diff)
	}
	sv.Spec.Value, sv.Spec.Description = sensitive.New(canary), "other"
	testStrategy().PrepareForUpdate(ctx, sv, stored())
	if sv.Generation != 4 || sv.Status.Version != 2 || sv.Annotations[secret.AnnotationUpdatedBy] != "carol" {
		t.Errorf("got generation %d, version %d, annotations %v", sv.Generation, sv.Status.Version, sv.Annotations)
	}
}

// Stamps that the server never set stay absent, no matter who sends them.
func TestStampsCannotAppear(t *testing.T) {
	old := stored()
	old.Annotations = nil
	sv := old.DeepCopy()
	sv.Annotations = map[string]string{secret.AnnotationCreatedBy: "forged", secret.AnnotationUpdatedBy: "forged"}
	testStrategy().PrepareForUpdate(as(t, "carol"), sv, old)
	if len(sv.Annotations) != 0 {
		t.Errorf("got %v", sv.Annotations)
	}
}

// The whole path that upstream takes through the strategy before it stores.
func TestBeforeCreateReportsAllFaultsOnce(t *testing.T) {
	sv := requested()
	sv.Name, sv.Spec.Description, sv.Spec.Decrypters = "Bad", "", []string{"other"}
	rest.FillObjectMetaSystemFields(sv)
	err := clientError(t.Context(), sv.Name, rest.BeforeCreate(testStrategy(), as(t, "alice"), sv))
	wantCauses(t, err, "metadata.name", "spec.description", "spec.decrypters[0]")
}

func TestBeforeUpdateReportsAllFaultsOnce(t *testing.T) {
	tests := []struct {
		name   string
		change func(*secret.SecureValue)
		want   []string
	}{
		{"spec", func(sv *secret.SecureValue) {
			sv.Spec.Description, sv.Spec.Value, sv.Spec.Decrypters = "", sensitive.New(canary+"\xff"), []string{""}
		}, []string{"spec.description", "spec.value", "spec.decrypters[0]"}},
		{"label", func(sv *secret.SecureValue) { sv.Labels = map[string]string{"a": "b c"} },
			[]string{"metadata.labels"}},
		{"name", func(sv *secret.SecureValue) { sv.Name = "other" }, []string{"metadata.name"}},
		{"uid", func(sv *secret.SecureValue) { sv.UID = "other" }, []string{"metadata.uid"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sv := stored()
			tt.change(sv)
			wantCauses(t, clientError(t.Context(), sv.Name,
				rest.BeforeUpdate(testStrategy(), as(t, "alice"), sv, stored())), tt.want...)
		})
	}
}

func wantCauses(t *testing.T, err error, fields ...string) {
	t.Helper()
	wantNoCanary(t, err)
	status, ok := err.(apierrors.APIStatus)
	if !ok {
		t.Fatalf("got %v", err)
	}
	var got []string
	for _, cause := range status.Status().Details.Causes {
		got = append(got, cause.Field)
	}
	if diff := cmp.Diff(fields, got); diff != "" {
		t.Errorf("causes -want +got:\n%s", diff)
	}
	if status.Status().Code != 400 || status.Status().Reason != metav1.StatusReasonInvalid {
		t.Errorf("got %d %s", status.Status().Code, status.Status().Reason)
	}
}

// A PUT without a resourceVersion must bring a value; the fault joins the others.
func TestValidateUpdateRequiresAValue(t *testing.T) {
	for name, tt := range map[string]struct {
		request *writeRequest
		want    bool
	}{
		"unconditional PUT": {&writeRequest{replace: true, unconditional: true}, true},
		"conditional PUT":   {&writeRequest{replace: true}, false},
		"patch":             {&writeRequest{unconditional: true}, false},
		"no request":        {nil, false},
	} {
		ctx := as(t, "alice")
		if tt.request != nil {
			ctx = context.WithValue(ctx, writeRequestKey{}, tt.request)
		}
		errs := testStrategy().ValidateUpdate(ctx, stored(), stored())
		if got := len(errs) == 1 && errs[0].Field == "spec.value"; got != tt.want {
			t.Errorf("%s: got %v", name, errs)
		}
	}
}

func TestStrategyAnswers(t *testing.T) {
	s, ctx := testStrategy(), as(t, "alice")
	if !s.NamespaceScoped() || s.AllowCreateOnUpdate(ctx) || !s.AllowUnconditionalUpdate(ctx) {
		t.Error("want namespaced, 404 for a PUT of an absent name, and PUTs without a resourceVersion")
	}
	if s.WarningsOnCreate(ctx, requested()) != nil || s.WarningsOnUpdate(ctx, requested(), stored()) != nil {
		t.Error("want no warnings")
	}
	sv := requested()
	sv.Spec.Decrypters = []string{"b", "a"}
	if s.Canonicalize(sv); sv.Spec.Decrypters[0] != "b" {
		t.Error("the order of decrypters is the writer's")
	}
	if got := s.DefaultGarbageCollectionPolicy(ctx); got != rest.DeleteDependents {
		t.Errorf("got policy %s", got)
	}
}

// Without this, server-side apply conflicts for ever on a field that no live object shows.
func TestResetFields(t *testing.T) {
	set := testStrategy().GetResetFields()["secret.grafana.app/v1beta1"]
	if set == nil {
		t.Fatal("no reset fields for v1beta1")
	}
	for path, want := range map[string]bool{"status": true, "spec.value": true, "spec.description": false,
		"spec.decrypters": false, "spec": false} {
		parts := map[string]fieldpath.Path{
			"status": fieldpath.MakePathOrDie("status"), "spec": fieldpath.MakePathOrDie("spec"),
			"spec.value":       fieldpath.MakePathOrDie("spec", "value"),
			"spec.description": fieldpath.MakePathOrDie("spec", "description"),
			"spec.decrypters":  fieldpath.MakePathOrDie("spec", "decrypters"),
		}
		if got := set.Has(parts[path]); got != want {
			t.Errorf("%s: got %t, want %t", path, got, want)
		}
	}
}
