// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

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
