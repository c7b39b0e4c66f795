// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"mime"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/scheme"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// accept reads as editor in a format of the caller's choice.
func (a *api) accept(t *testing.T, target, accept string) harness.Response {
	t.Helper()
	return a.send(t, harness.Request{Method: http.MethodGet, Path: target, Token: editorToken,
		Header: http.Header{"Accept": {accept}}})
}

// formats: one object in JSON, YAML, protobuf and as metadata only.
func (a *api) formats(t *testing.T) {
	const namespace = "formats"
	one := path(namespace, "one")
	protobufCreate(t, a, namespace)
	want := a.get(t, namespace, "one")
	for _, accept := range []string{"", "*/*", jsonType, jsonType + ";q=0.1, text/html"} {
		got := a.accept(t, one, accept)
		if mediaType, _, _ := mime.ParseMediaType(got.Header.Get("Content-Type")); got.Code != http.StatusOK ||
			mediaType != jsonType {
			t.Errorf("Accept %q: want JSON, got %d %s", accept, got.Code, got.Header.Get("Content-Type"))
		}
	}
	var fromYAML map[string]any
	if err := yaml.Unmarshal(a.accept(t, one, yamlType).Body, &fromYAML); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, fromYAML); diff != "" {
		t.Errorf("YAML differs from JSON:\n%s", diff)
	}
	decoded, _, err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Decode(a.accept(t, one, protoType).Body,
		nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if sv := decoded.(*v1beta1.SecureValue); sv.Spec.Value != nil || sv.Spec.Description != "from protobuf" ||
		string(sv.UID) != at(want, "metadata", "uid") {
		t.Errorf("protobuf: got %+v", sv)
	}
	if got := a.accept(t, one, "text/html"); got.Code != http.StatusNotAcceptable ||
		got.Status(t).Code != http.StatusNotAcceptable {
		t.Errorf("Accept text/html: want 406, got %d: %s", got.Code, got.Body)
	}
	for target, kind := range map[string]string{one: "PartialObjectMetadata",
		harness.Collection(namespace): "PartialObjectMetadataList"} {
		got := a.accept(t, target, jsonType+";as="+kind+";v=v1;g=meta.k8s.io").Object(t)
		if got["kind"] != kind || got["spec"] != nil {
			t.Errorf("want %s, got %v", kind, got)
		}
	}
}

// protobufCreate writes as a typed client does.
func protobufCreate(t *testing.T, a *api, namespace string) {
	t.Helper()
	object := &v1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Name: "one"},
		Spec: v1beta1.SecureValueSpec{Description: "from protobuf", Value: sensitive.New(a.canary()),
			Decrypters: []string{"k6-cloud"}},
	}
	object.SetGroupVersionKind(v1beta1.SchemeGroupVersion.WithKind("SecureValue"))
	var body bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(object, &body); err != nil {
		t.Fatal(err)
	}
	a.want(t, http.StatusCreated, http.MethodPost, harness.Collection(namespace), protoType, body.String())
}

// table: what `kubectl get securevalues` asks for.
func (a *api) table(t *testing.T) {
	a.create(t, "table", "one", map[string]any{"spec.decrypters": []any{"synthetic-monitoring", "k6-cloud"}})
	a.create(t, "table", "two", map[string]any{"spec.decrypters": nil})
	got := a.accept(t, harness.Collection("table"), jsonType+";as=Table;v=v1;g=meta.k8s.io, "+jsonType).Object(t)
	if got["kind"] != "Table" {
		t.Fatalf("want a Table, got %v", got)
	}
	var columns, wide []string
	for _, definition := range got["columnDefinitions"].([]any) {
		column := definition.(map[string]any)
		if name := column["name"].(string); column["priority"] == 0.0 {
			columns = append(columns, strings.ToUpper(name))
		} else {
			wide = append(wide, strings.ToUpper(name))
		}
	}
	if diff := cmp.Diff([]string{"NAME", "DESCRIPTION", "DECRYPTERS", "VERSION", "AGE"}, columns); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"KEEPER", "KEY", "SEALED"}, wide); diff != "" {
		t.Error(diff)
	}
	for i, want := range [][]any{{"one", "d", "synthetic-monitoring,k6-cloud", 1.0}, {"two", "d", "<none>", 1.0}} {
		row := got["rows"].([]any)[i].(map[string]any)
		cells := row["cells"].([]any)
		if diff := cmp.Diff(want, cells[:4]); diff != "" {
			t.Errorf("row %d:\n%s", i, diff)
		}
		if key, _ := cells[6].(string); cells[5] != "system" || !strings.Contains(key, "/") {
			t.Errorf("row %d: want keeper and key, got %v", i, cells)
		}
		if object := row["object"].(map[string]any); object["kind"] != "PartialObjectMetadata" {
			t.Errorf("row %d: want metadata only, got %v", i, object)
		}
	}
	for include, kind := range map[string]string{"Object": "SecureValue", "None": ""} {
		got := a.accept(t, harness.Collection("table")+"?includeObject="+include,
			jsonType+";as=Table;v=v1;g=meta.k8s.io").Object(t)
		object, _ := got["rows"].([]any)[0].(map[string]any)["object"].(map[string]any)
		if found, _ := object["kind"].(string); found != kind {
			t.Errorf("includeObject=%s: want the kind %q, got %v", include, kind, object)
		}
	}
}
