// SPDX-License-Identifier: Apache-2.0

package securevalue

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

func TestWithoutValue(t *testing.T) {
	value := `"value":"` + canary + `"`
	tests := []struct {
		name, manifest, want string
		dropped              bool
	}{
		{
			name: "as kubectl writes it",
			manifest: `{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue",` +
				`"metadata":{"annotations":{},"labels":{"a":"b"},"name":"n"},` +
				`"spec":{"decrypters":["k6-cloud"],"description":"d",` + value + `}}` + "\n",
			want: `{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue","metadata":{"annotations":{},` +
				`"labels":{"a":"b"},"name":"n"},` +
				`"spec":{"decrypters":["k6-cloud"],"description":"d"}}`,
		},
		{name: "no value", manifest: `{"spec":{"description":"d"}}`, want: `{"spec":{"description":"d"}}`},
		{name: "no spec", manifest: `{"kind":"SecureValue"}`, want: `{"kind":"SecureValue"}`},
		{name: "spec null", manifest: `{"spec":null}`, want: `{"spec":null}`},
		{name: "empty object", manifest: `{}`, want: `{}`},
		{name: "value an object", manifest: `{"spec":{"value":{"a":"` + canary + `"}}}`, want: `{"spec":{}}`},
		{name: "value twice", manifest: `{"spec":{` + value + `,"description":"d",` + value + `}}`,
			want: `{"spec":{"description":"d"}}`},
		{name: "spec twice", manifest: `{"spec":{` + value + `},"spec":{"description":"d"}}`,
			want: `{"spec":{"description":"d"}}`},
		{name: "description twice", manifest: `{"spec":{"description":"` + canary + `","description":"d"}}`,
			want: `{"spec":{"description":"d"}}`},
		{name: "escaped name", manifest: `{"spec":{"\u0076alue":"` + canary + `"}}`, want: `{"spec":{}}`},
		{name: "another case", manifest: `{"Spec":{` + value + `},"spec":{"Value":"` + canary + `"}}`,
			want: `{"spec":{}}`},
		{name: "misspelt", manifest: `{"spec":{"valeu":"` + canary + `"}}`, want: `{"spec":{}}`},
		{name: "at the top", manifest: `{` + value + `,"stringData":{"a":"` + canary + `"}}`, want: `{}`},
		{name: "under metadata", manifest: `{"metadata":{` + value + `,"name":"n"}}`,
			want: `{"metadata":{"name":"n"}}`},
		{name: "metadata a string", manifest: `{"metadata":"` + canary + `"}`, dropped: true},
		{name: "status", manifest: `{"status":{` + value + `}}`, want: `{}`},
		{name: "deep under another name", manifest: `{"spec":{"template":{"spec":{` + value + `}}}}`,
			want: `{"spec":{}}`},

		{name: "nothing", manifest: ``, dropped: true},
		{name: "null", manifest: `null`, dropped: true},
		{name: "text", manifest: canary, dropped: true},
		{name: "list", manifest: `[{"spec":{` + value + `}}]`, dropped: true},
		{name: "string", manifest: `"` + canary + `"`, dropped: true},
		{name: "YAML", manifest: "spec:\n  value: " + canary, dropped: true},
		{name: "truncated", manifest: `{"spec":{` + value, dropped: true},
		{name: "trailing data", manifest: `{"spec":{}}` + canary, dropped: true},
		{name: "two objects", manifest: `{"spec":{}}{"spec":{` + value + `}}`, dropped: true},
		{name: "spec a string", manifest: `{"spec":"` + canary + `"}`, dropped: true},
		{name: "spec a list", manifest: `{"spec":["` + canary + `"]}`, dropped: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sv := &secret.SecureValue{}
			sv.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: tt.manifest, "other": "kept"}
			dropValueFromLastApplied(sv)
			want := map[string]string{"other": "kept"}
			if !tt.dropped {
				want[corev1.LastAppliedConfigAnnotation] = tt.want + "\n"
			}
			if diff := cmp.Diff(want, sv.Annotations); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestWithoutLastApplied(t *testing.T) {
	sv := &secret.SecureValue{}
	if dropValueFromLastApplied(sv); sv.Annotations != nil {
		t.Errorf("got %v", sv.Annotations)
	}
}

// A second cleaning changes nothing, so that applying one manifest twice is a no-op.
func TestWithoutValueIsStable(t *testing.T) {
	first, ok := withoutValue(`{"spec":{"value":"x","description":"<a&b>"},"kind":"SecureValue"}`)
	second, ok2 := withoutValue(first)
	if !ok || !ok2 || first != second {
		t.Errorf("%q then %q", first, second)
	}
}

// TestCopiesInsideACopy finds the value where clients copy it into the annotations of the copy.
func TestCopiesInsideACopy(t *testing.T) {
	for annotations, want := range map[string]string{
		`{"kubernetes.io/change-cause":"kubectl patch sv a -p ` + canary +
			`","team":"a"}`: `{"team":"a"}`,
		`{"kubectl.kubernetes.io/last-applied-configuration":"{\"spec\":{\"value\":\"` + canary + `\"}}"}`: `{}`,
		`{"team":"a"}`: `{"team":"a"}`, `{}`: `{}`, `null`: `null`,
	} {
		want = `{"metadata":{"annotations":` + want + `,"name":"a"}}` + "\n"
		if clean, ok := withoutValue(`{"metadata":{"name":"a","annotations":` + annotations + `}}`); !ok ||
			clean != want {
			t.Errorf("%s: %q, %v", annotations, clean, ok)
		}
	}
	if clean, ok := withoutValue(`{"metadata":{"name":"a","annotations":"` + canary + `"}}`); !ok ||
		clean != `{"metadata":{"name":"a"}}`+"\n" {
		t.Errorf("%q, %v", clean, ok)
	}
}

// FuzzWithoutValue puts a canary at spec.value of any manifest: it never comes out, and nothing else named value does.
func FuzzWithoutValue(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"spec":null}`, `{"spec":{}}`, `{"spec":{"value":"v","description":"d"}}`,
		`{"spec":{"value":1},"spec":{"value":2}}`,
		`{"Spec":{"value":"v"}}`, `{"spec":{"Value":"v"}}`, `null`, `[]`, `{"spec":[]}`,
		`{"metadata":{"labels":{"a":"b"}}}`, `{"spec":{"\u0076alue":1}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, manifest string) {
		wantNoValueKey(t, manifest)
		var object map[string]any
		if json.Unmarshal([]byte(manifest), &object) != nil || object == nil || strings.Contains(manifest, canary) {
			return
		}
		spec, ok := object["spec"].(map[string]any)
		if !ok || spec == nil {
			spec = map[string]any{}
		}
		spec["value"] = canary
		object["spec"] = spec
		data, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		clean, ok := withoutValue(string(data))
		if !ok {
			t.Fatalf("%s: dropped", data)
		}
		if strings.Contains(clean, canary) {
			t.Fatalf("%s leaves %s", data, clean)
		}
	})
}

func wantNoValueKey(t *testing.T, manifest string) {
	t.Helper()
	clean, ok := withoutValue(manifest)
	if !ok {
		return
	}
	var object struct {
		Spec map[string]json.RawMessage `json:"spec"`
	}
	if err := json.Unmarshal([]byte(clean), &object); err != nil {
		t.Fatalf("%q gives %q: %v", manifest, clean, err)
	}
	for key := range object.Spec {
		if key != "description" && key != "decrypters" {
			t.Fatalf("%q leaves %q", manifest, clean)
		}
	}
}
