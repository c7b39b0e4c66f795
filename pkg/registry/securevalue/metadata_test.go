// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

func owners(controllers ...bool) []metav1.OwnerReference {
	list := make([]metav1.OwnerReference, 0, len(controllers))
	for _, controller := range controllers {
		list = append(list, metav1.OwnerReference{Controller: &controller})
	}
	return list
}

func entries(n int) map[string]string {
	entries := make(map[string]string, n)
	for i := range n {
		entries[fmt.Sprintf("key-%d", i)] = "x"
	}
	return entries
}

func TestCheckMetadata(t *testing.T) {
	for name, tt := range map[string]struct {
		meta metav1.ObjectMeta
		want string
	}{
		"nothing": {metav1.ObjectMeta{}, ""},
		"full": {metav1.ObjectMeta{Labels: entries(500), Annotations: entries(500),
			Finalizers: make([]string, 500), OwnerReferences: make([]metav1.OwnerReference, 500)}, ""},
		"labels":      {metav1.ObjectMeta{Labels: entries(501)}, "metadata.labels"},
		"annotations": {metav1.ObjectMeta{Annotations: entries(501)}, "metadata.annotations"},
		"finalizers":  {metav1.ObjectMeta{Finalizers: make([]string, 501)}, "metadata.finalizers"},
		"owners": {metav1.ObjectMeta{OwnerReferences: make([]metav1.OwnerReference, 501)},
			"metadata.ownerReferences"},
		"managers": {metav1.ObjectMeta{ManagedFields: make([]metav1.ManagedFieldsEntry, 101)},
			"metadata.managedFields"},
		"one controller": {metav1.ObjectMeta{OwnerReferences: owners(false, true, false)}, ""},
		"two controllers": {metav1.ObjectMeta{OwnerReferences: owners(true, true)},
			"metadata.ownerReferences[1].controller"},
		"controllers between": {metav1.ObjectMeta{OwnerReferences: owners(false, true, false, true, true)},
			"metadata.ownerReferences[3].controller"},
	} {
		sv := &secret.SecureValue{ObjectMeta: tt.meta}
		err := checkMetadata(sv)
		if (err == nil) != (tt.want == "") {
			t.Errorf("%s: got %v", name, err)
		}
		if err == nil {
			continue
		}
		status := statusOf(t, clientError(t.Context(), "api-key", err))
		if status.Code != http.StatusBadRequest || len(status.Details.Causes) != 1 ||
			status.Details.Causes[0].Field != tt.want {
			t.Errorf("%s: want 400 for %s, got %+v", name, tt.want, status)
		}
	}
	if err := checkMetadata(&metav1.Status{}); err != nil {
		t.Errorf("another kind: got %v", err)
	}
}

// Create and update check before registry.Store, which validates.
func TestMetadataIsCheckedFirst(t *testing.T) {
	sv := requested()
	sv.OwnerReferences = owners(true, true)
	// Without a Store underneath, going on would panic.
	_, err := (&REST{}).Create(as(t, "alice"), sv, nil, &metav1.CreateOptions{})
	if status := statusOf(t, err); status.Code != http.StatusBadRequest {
		t.Errorf("create: got %+v", status)
	}
	ctx, update := withWriteRequest(as(t, "alice"), false)
	info := updatedObject{UpdatedObjectInfo: rest.DefaultUpdatedObjectInfo(sv), request: update, name: "api-key"}
	if _, err := info.UpdatedObject(ctx, stored()); err == nil {
		t.Error("update: want a refusal")
	}
}

func TestAttributes(t *testing.T) {
	sv := stored()
	sv.Labels = map[string]string{"team": "a"}
	sv.Spec.Value = requested().Spec.Value
	sv.Spec.Decrypters = []string{"k6-cloud", "synthetic-monitoring"}
	label, field, err := attributes(sv)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(labels.Set{"team": "a"}, label); diff != "" {
		t.Error(diff)
	}
	want := fields.Set{
		"metadata.name": "api-key", "metadata.namespace": "default",
		"spec.decrypter:k6-cloud": "true", "spec.decrypter:synthetic-monitoring": "true",
	}
	if diff := cmp.Diff(want, field); diff != "" {
		t.Error(diff)
	}
	if _, _, err := attributes(&metav1.Status{}); err == nil {
		t.Error("another type has attributes")
	}
}

// Selectors as a client writes them, through the conversion of v1beta1.
func TestSelectors(t *testing.T) {
	scheme := testScheme()
	tests := []struct {
		label, field string
		want         bool
	}{
		{want: true},
		{field: "metadata.name=api-key", want: true},
		{field: "metadata.name!=api-key"},
		{field: "metadata.namespace=other"},
		{field: "spec.decrypter=k6-cloud", want: true},
		{field: "spec.decrypter=synthetic-monitoring", want: true},
		{field: "spec.decrypter=k6-cloud,spec.decrypter=synthetic-monitoring", want: true},
		{field: "spec.decrypter=k6"},
		{field: "spec.decrypter="},
		{field: "spec.decrypter!=k6-cloud"},
		{field: "spec.decrypter!=other", want: true},
		{field: "spec.decrypter=k6-cloud,spec.decrypter!=synthetic-monitoring"},
		{label: "team=a", want: true},
		{label: "team=b"},
		{label: "team=a", field: "spec.decrypter=other"},
	}
	for _, tt := range tests {
		t.Run(tt.label+" "+tt.field, func(t *testing.T) {
			label, err := labels.Parse(tt.label)
			if err != nil {
				t.Fatal(err)
			}
			field, err := fields.ParseAndTransformSelector(tt.field, func(key, value string) (string, string, error) {
				return scheme.ConvertFieldLabel(v1beta1.SchemeGroupVersion.WithKind("SecureValue"), key, value)
			})
			if err != nil {
				t.Fatal(err)
			}
			sv := stored()
			sv.Labels = map[string]string{"team": "a"}
			sv.Spec.Decrypters = []string{"k6-cloud", "synthetic-monitoring"}
			predicate := match(label, field)
			got, err := predicate.Matches(sv)
			if err != nil || got != tt.want {
				t.Errorf("got %t and %v, want %t", got, err, tt.want)
			}
		})
	}
}
