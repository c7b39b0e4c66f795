// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// bodies: kind, apiVersion, namespace and even the Content-Type may be absent, and a body may come in chunks.
func (a *api) bodies(t *testing.T) {
	const namespace = "bodies"
	all := harness.Collection(namespace)
	bare := func(name string) map[string]any {
		return manifest(name, a.canary(), map[string]any{"apiVersion": nil, "kind": nil})
	}
	for name, contentType := range map[string]string{"none": "", "json": jsonType, "charset": jsonType +
		"; charset=utf-8", "as-yaml": yamlType} {
		got := a.want(t, http.StatusCreated, http.MethodPost, all, contentType, text(t, bare(name))).Object(t)
		if got["kind"] != "SecureValue" || got["apiVersion"] != "secret.grafana.app/v1beta1" ||
			at(got, "metadata", "namespace") != namespace {
			t.Errorf("%s: want the defaults of the URL, got %v", name, got)
		}
		a.want(t, http.StatusOK, http.MethodPut, path(namespace, name), contentType, text(t, bare(name)))
	}
	if got := a.create(t, namespace, "same", map[string]any{"metadata.namespace": namespace}); at(got, "metadata",
		"namespace") != namespace {
		t.Errorf("got %v", got)
	}
	generated := map[string]bool{}
	for range 3 {
		got := a.want(t, http.StatusCreated, http.MethodPost, all, "",
			`{"metadata":{"generateName":"gen-"},"spec":{"description":"d","value":"`+a.canary()+`"}}`).Object(t)
		name, _ := at(got, "metadata", "name").(string)
		if !strings.HasPrefix(name, "gen-") || len(name) <= len("gen-") ||
			at(got, "metadata", "generateName") != "gen-" {
			t.Errorf("want a generated name, got %v", got["metadata"])
		}
		generated[name] = true
	}
	if len(generated) != 3 {
		t.Errorf("want three different names, got %v", generated)
	}
	chunked(t, a, text(t, bare("chunked")))
}

func chunked(t *testing.T, a *api, body string) {
	t.Helper()
	// A reader of unknown length makes the client send chunks; HTTP/1.1 shows them on the wire.
	conn := a.dial(t)
	_, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer %s\r\nTransfer-Encoding: "+
		"chunked\r\n\r\n%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n",
		harness.Collection("bodies"), editorToken, len(body)/2, body[:len(body)/2], len(body)-len(body)/2,
		body[len(body)/2:])
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusCreated {
		t.Errorf("want 201, got %d: %s (%v)", response.StatusCode, answer, err)
	}
	a.quiet(t, harness.Response{Header: response.Header, Body: answer})
	a.get(t, "bodies", "chunked")
}

// clients: what programs that speak this API send without being asked.
func (a *api) clients(t *testing.T) {
	owner := []any{map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner",
		"uid": "f1e2d3c4-b5a6-7890-abcd-ef1234567890"}}
	annotations := map[string]any{"grafana.app/managedBy": "terraform", "grafana.app/managerId": "stack",
		"secret.grafana.app/value-revision": "1"}
	fields := map[string]any{
		"status":             map[string]any{"version": 0, "externalID": "", "keeper": ""},
		"metadata.labels":    map[string]any{"manager": "terraform"},
		"metadata.namespace": "stacks-7", "metadata.annotations": annotations, "metadata.ownerReferences": owner,
		"metadata.creationTimestamp": "2001-01-01T00:00:00Z", "metadata.uid": "mine", "metadata.generation": 77,
		"spec.decrypters": []any{"synthetic-monitoring", "k6-cloud"},
	}
	target := harness.Collection("stacks-7") + "?fieldValidation=Strict"
	created := a.want(t, http.StatusCreated, http.MethodPost, target, jsonType,
		text(t, manifest("client", a.canary(), fields))).Object(t)
	for name, want := range annotations {
		if at(created, "metadata", "annotations", name) != want {
			t.Errorf("annotation %s: want %v, got %v", name, want, created["metadata"])
		}
	}
	if diff := cmp.Diff(owner, at(created, "metadata", "ownerReferences")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]any{"synthetic-monitoring", "k6-cloud"}, at(created, "spec", "decrypters")); diff != "" {
		t.Errorf("the order of decrypters is the writer's: %s", diff)
	}
	if at(created, "metadata", "uid") == "mine" || at(created, "metadata", "generation") != 1.0 ||
		at(created, "metadata", "creationTimestamp") == "2001-01-01T00:00:00Z" {
		t.Errorf("uid, generation and times are the server's, got %v", created["metadata"])
	}
	if status := created["status"].(map[string]any); status["version"] != 1.0 || status["keeper"] != "system" ||
		status["externalID"] != nil {
		t.Errorf("the status is the server's, got %v", status)
	}
	// Infrastructure as code: GET, then PUT what came with a new value and the resourceVersion.
	fetched := a.get(t, "stacks-7", "client")
	fetched["spec"].(map[string]any)["value"] = a.canary()
	fetched["status"] = map[string]any{"version": 0, "externalID": "x", "keeper": ""}
	updated := a.want(t, http.StatusOK, http.MethodPut, path("stacks-7", "client")+"?fieldValidation=Strict", jsonType,
		text(t, fetched)).Object(t)
	if resourceVersion(updated) <= resourceVersion(created) || at(updated, "status", "version") != 2.0 {
		t.Errorf("want a higher resourceVersion and version 2, got %v", updated)
	}
	a.want(t, http.StatusConflict, http.MethodPut, path("stacks-7", "client"), jsonType, text(t, fetched))
	// The core group does not exist: client-go takes 404 for that.
	a.want(t, http.StatusNotFound, http.MethodGet, "/api", "", "")
	for _, target := range []string{"/apis", "/apis/secret.grafana.app", "/apis/secret.grafana.app/v1beta1",
		harness.Collection("stacks-7") + "?limit=500", "/openapi/v2", "/openapi/v3", "/version"} {
		if got := a.do(t, http.MethodGet, target, "", ""); got.Code != http.StatusOK {
			t.Errorf("GET %s: want 200, got %d: %s", target, got.Code, got.Body)
		}
	}
}

// dryRun answers as the real thing does and stores nothing.
func (a *api) dryRun(t *testing.T) {
	const namespace, all = "dry-run", "?dryRun=All"
	got := a.want(t, http.StatusCreated, http.MethodPost, harness.Collection(namespace)+all, jsonType,
		text(t, manifest("one", a.canary(), nil))).Object(t)
	if at(got, "spec", "value") != nil || at(got, "spec", "description") != "d" {
		t.Errorf("want the object without its value, got %v", got)
	}
	a.want(t, http.StatusNotFound, http.MethodGet, path(namespace, "one"), "", "")
	a.create(t, namespace, "one", nil)
	before := a.get(t, namespace, "one")
	one := path(namespace, "one")
	for _, step := range []struct{ method, query, contentType, body string }{
		{http.MethodPut, all, jsonType, text(t,
			manifest("one", a.canary(), map[string]any{"spec.description": "dry"}))},
		{http.MethodPatch, all, mergeType, `{"spec":{"description":"dry","value":"` + a.canary() + `"}}`},
		{http.MethodPatch, all, stratType, `{"spec":{"description":"dry","value":"` + a.canary() + `"}}`},
		{http.MethodPatch, all, patchType, `[{"op":"add","path":"/spec/value","value":"` + a.canary() +
			`"},{"op":"replace","path":"/spec/description","value":"dry"}]`},
		{http.MethodPatch, all + "&fieldManager=m&force=true", applyType,
			"{apiVersion: secret.grafana.app/v1beta1, kind: SecureValue, spec: {description: dry, value: " + `"` +
				a.canary() + `"}}`},
	} {
		got := a.want(t, http.StatusOK, step.method, one+step.query, step.contentType, step.body).Object(t)
		if at(got, "spec", "description") != "dry" || at(got, "spec", "value") != nil {
			t.Errorf("%s %s: want what would be stored, got %v", step.method, step.contentType, got)
		}
	}
	a.want(t, http.StatusOK, http.MethodDelete, one+all, "", "")
	a.want(t, http.StatusConflict, http.MethodPost, harness.Collection(namespace)+all, jsonType,
		text(t, manifest("one", a.canary(), nil)))
	a.want(t, http.StatusBadRequest, http.MethodPost, harness.Collection(namespace)+all, jsonType,
		text(t, manifest("two", "", nil)))
	a.want(t, http.StatusNotFound, http.MethodPut, path(namespace, "absent")+all, jsonType,
		text(t, manifest("absent", a.canary(), nil)))
	if diff := cmp.Diff(before, a.get(t, namespace, "one")); diff != "" {
		t.Errorf("a dry run changed the object (-before +after):\n%s", diff)
	}
}

// whoAndWhen: three annotations are set by the server, whatever clients send.
func (a *api) whoAndWhen(t *testing.T) {
	const namespace = "who"
	spoofed := map[string]any{"metadata.annotations": map[string]any{
		"grafana.app/createdBy": "mallory", "grafana.app/updatedBy": "mallory",
		"grafana.app/updatedTimestamp": "2001-01-01T00:00:00Z", "other": "kept",
	}}
	created := a.create(t, namespace, "one", spoofed)
	if diff := cmp.Diff(map[string]any{"grafana.app/createdBy": "editor", "other": "kept"},
		at(created, "metadata", "annotations")); diff != "" {
		t.Errorf("created (-want +got):\n%s", diff)
	}
	one := path(namespace, "one")
	for name, request := range map[string]harness.Request{
		"PUT without annotations": {Method: http.MethodPut, ContentType: jsonType,
			Body: text(t, manifest("one", a.canary(), nil))},
		"PUT with others": {Method: http.MethodPut, ContentType: jsonType,
			Body: text(t, manifest("one", a.canary(), spoofed))},
		"patch": {Method: http.MethodPatch, ContentType: mergeType,
			Body: `{"metadata":{"annotations":{"grafana.app/createdBy":"mallory","grafana.app/updatedBy":null}},` +
				`"spec":{"value":"` + a.canary() + `"}}`},
	} {
		request.Path, request.Token = one, extenderToken
		got := a.send(t, request).Want(t, http.StatusOK)
		annotations, _ := at(got.Object(t), "metadata", "annotations").(map[string]any)
		if annotations["grafana.app/createdBy"] != "editor" || annotations["grafana.app/updatedBy"] != "extender" {
			t.Errorf("%s: want created by editor and updated by extender, got %v", name, annotations)
		}
		if when, _ := annotations["grafana.app/updatedTimestamp"].(string); when == "" ||
			when == "2001-01-01T00:00:00Z" {
			t.Errorf("%s: want the server's time, got %q", name, when)
		}
	}
}

// lastApplied: what kubectl keeps in an annotation is kept without the value.
func (a *api) lastApplied(t *testing.T) {
	const key = "kubectl.kubernetes.io/last-applied-configuration"
	object := manifest("applied", a.canary(), nil)
	copied := text(t, object)
	set(object, []string{"metadata", "annotations"}, map[string]any{key: copied})
	got := a.want(t, http.StatusCreated, http.MethodPost, harness.Collection("applied"), jsonType,
		text(t, object)).Object(t)
	kept, _ := at(got, "metadata", "annotations", key).(string)
	var manifestKept map[string]any
	if err := json.Unmarshal([]byte(kept), &manifestKept); err != nil {
		t.Fatalf("%q: %v", kept, err)
	}
	if at(manifestKept, "spec", "value") != nil || at(manifestKept, "spec", "description") != "d" {
		t.Errorf("want the manifest without its value, got %s", kept)
	}
	patch := text(t, map[string]any{"metadata": map[string]any{"annotations": map[string]any{key: "value: " +
		a.canary()}}})
	got = a.want(t, http.StatusOK, http.MethodPatch, path("applied", "applied"), mergeType, patch).Object(t)
	if at(got, "metadata", "annotations", key) != nil {
		t.Errorf("what is not JSON is dropped, got %v", got["metadata"])
	}
}
