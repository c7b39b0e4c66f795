// SPDX-License-Identifier: Apache-2.0

package v1beta1_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	kjson "sigs.k8s.io/json"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/install"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// example reads one JSON body of secrets-management-http-api.md.
func example(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	install.Install(scheme)
	return scheme
}

// encoder writes hub objects as the server does: converted to v1beta1, in JSON.
func encoder(t *testing.T) runtime.Encoder {
	t.Helper()
	codecs := serializer.NewCodecFactory(newScheme())
	info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	if !ok {
		t.Fatal("no JSON serializer")
	}
	return codecs.EncoderForVersion(info.Serializer, v1beta1.SchemeGroupVersion)
}

func wantSameJSON(t *testing.T, got, want []byte) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if err := json.Unmarshal(want, &w); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("JSON differs from the document (-want +got):\n%s", diff)
	}
}

func object(name, uid, created, description string) secret.SecureValue {
	at, _ := time.Parse(time.RFC3339, created)
	return secret.SecureValue{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default", UID: types.UID(uid), CreationTimestamp: metav1.NewTime(at),
		},
		Spec: secret.SecureValueSpec{Description: description, Decrypters: []string{"synthetic-monitoring"}},
	}
}

// What the server answers has exactly the document's field names, and no others.
func TestResponsesAreTheDocuments(t *testing.T) {
	stored := object("api-key", "f1e2d3c4-b5a6-7890-abcd-ef1234567890", "2024-01-15T10:35:00Z", "External API Key")
	tests := map[string]runtime.Object{
		"create-response.json": &stored,
		"get-response.json":    &stored,
		"list-response.json": &secret.SecureValueList{
			ListMeta: metav1.ListMeta{ResourceVersion: "12345"},
			Items: []secret.SecureValue{object("database-password", "", "2024-01-15T10:30:00Z",
				"Production DB Password")},
		},
	}
	for file, answer := range tests {
		t.Run(file, func(t *testing.T) {
			got, err := runtime.Encode(encoder(t), answer)
			if err != nil {
				t.Fatal(err)
			}
			wantSameJSON(t, got, example(t, file))
		})
	}
}

// The document's request bodies decode strictly, value included.
func TestRequestsAreTheDocuments(t *testing.T) {
	for file, value := range map[string]string{"create-request.json": "secret-api-key-12345",
		"update-request.json": "new-value-12345"} {
		t.Run(file, func(t *testing.T) {
			var got v1beta1.SecureValue
			strict, err := kjson.UnmarshalStrict(example(t, file), &got)
			if err != nil || len(strict) > 0 {
				t.Fatalf("%v, %v", err, strict)
			}
			want := v1beta1.SecureValue{
				ObjectMeta: metav1.ObjectMeta{Name: "api-key"},
				Spec: v1beta1.SecureValueSpec{
					Description: "External API Key", Value: sensitive.New(value),
					Decrypters: []string{"synthetic-monitoring"},
				},
			}
			if got.Spec.Value == nil || got.Spec.Value.Expose() != value {
				t.Fatal("the value is not the document's")
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Every field there is, by its JSON name: a rename breaks clients.
func TestFieldNames(t *testing.T) {
	object := v1beta1.SecureValue{
		TypeMeta:   metav1.TypeMeta{APIVersion: "secret.grafana.app/v1beta1", Kind: "SecureValue"},
		ObjectMeta: metav1.ObjectMeta{Name: "n"},
		Spec:       v1beta1.SecureValueSpec{Description: "d", Value: sensitive.New("v"), Decrypters: []string{"x"}},
		Status:     v1beta1.SecureValueStatus{Version: 7, Keeper: "system", Key: "aesgcm/k1", ExternalID: "e"},
	}
	got, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	wantSameJSON(t, got, []byte(`{
		"apiVersion": "secret.grafana.app/v1beta1", "kind": "SecureValue", "metadata": {"name": "n"},
		"spec": {"description": "d", "value": "v", "decrypters": ["x"]},
		"status": {"version": 7, "keeper": "system", "key": "aesgcm/k1", "externalID": "e"}
	}`))
}

func TestEmptyObjectsKeepRequiredFields(t *testing.T) {
	got, err := json.Marshal(v1beta1.SecureValue{})
	if err != nil {
		t.Fatal(err)
	}
	wantSameJSON(t, got, []byte(`{"metadata": {}, "spec": {"description": ""}, "status": {}}`))
	list, err := runtime.Encode(encoder(t), &secret.SecureValueList{Items: []secret.SecureValue{}})
	if err != nil {
		t.Fatal(err)
	}
	wantSameJSON(t, list, []byte(`{"apiVersion": "secret.grafana.app/v1beta1", "kind": "SecureValueList", `+
		`"metadata": {}, "items": []}`))
}
