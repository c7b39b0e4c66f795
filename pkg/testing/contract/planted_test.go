// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/validation"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/scheme"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// planted: a writer without the verb extend may lengthen the list together with a junk value. Who then repairs the
// value is told, in every form of the request, and the object says who it was.
func (a *api) planted(t *testing.T) {
	const namespace = "planted"
	write := func(name, token, method, contentType, body string) harness.Response {
		t.Helper()
		got := a.send(t, harness.Request{Method: method, Path: path(namespace, name), Token: token,
			ContentType: contentType, Body: body}).Want(t, http.StatusOK)
		return got
	}
	version := func() string {
		return at(a.get(t, namespace, "one"), "metadata", "resourceVersion").(string)
	}
	a.create(t, namespace, "one", nil)
	write("one", planterToken, http.MethodPatch, mergeType,
		`{"metadata":{"annotations":{"secret.grafana.app/decryptersChangedBy":"editor"}},`+
			`"spec":{"value":"junk","decrypters":["k6-cloud","synthetic-monitoring"]}}`)
	both := map[string]any{"spec.decrypters": []any{"k6-cloud", "synthetic-monitoring"}}
	value := func() string { return `{"spec":{"value":"` + a.canary() + `"}}` }
	for name, send := range map[string]func(query string) harness.Response{
		"PUT": func(query string) harness.Response {
			return write("one"+query, editorToken, http.MethodPut, jsonType, text(t, manifest("one", a.canary(), both)))
		},
		"PUT of what was read": func(query string) harness.Response {
			read := map[string]any{"spec.decrypters": both["spec.decrypters"], "metadata.resourceVersion": version()}
			return write("one"+query, editorToken, http.MethodPut, jsonType, text(t, manifest("one", a.canary(), read)))
		},
		"merge patch": func(query string) harness.Response {
			return write("one"+query, editorToken, http.MethodPatch, mergeType, value())
		},
		"strategic patch": func(query string) harness.Response {
			return write("one"+query, editorToken, http.MethodPatch, stratType, value())
		},
		"JSON patch": func(query string) harness.Response {
			return write("one"+query, editorToken, http.MethodPatch, patchType,
				`[{"op":"add","path":"/spec/value","value":"`+a.canary()+`"}]`)
		},
		"apply": func(query string) harness.Response {
			return write("one"+query+"&fieldManager=m", editorToken, http.MethodPatch, applyType,
				`{apiVersion: secret.grafana.app/v1beta1, kind: SecureValue, spec: {description: d, value: `+
					``+a.canary()+`}}`)
		},
	} {
		wantPlanted(t, name, send("?dryRun=All"))
	}
	first := write("one", editorToken, http.MethodPatch, mergeType, value())
	wantPlanted(t, "the write itself", first)
	annotations, _ := at(first.Object(t), "metadata", "annotations").(map[string]any)
	if annotations["secret.grafana.app/decryptersChangedBy"] != "planter" {
		t.Errorf("the object names no planter: %v", annotations)
	}
	if got := write("one", editorToken, http.MethodPatch, mergeType, value()).Header.Values("Warning"); len(got) > 0 {
		t.Errorf("warned again, of a list that this user has kept: %q", got)
	}
	a.plantedByCreating(t, namespace)
}

// plantedByCreating: to delete an object and create it with a longer list is the same as to lengthen the list.
func (a *api) plantedByCreating(t *testing.T, namespace string) {
	t.Helper()
	created := a.send(t, harness.Request{Method: http.MethodPost, Path: harness.Collection(namespace),
		Token: extenderToken, ContentType: jsonType,
		Body: text(t, manifest("again", a.canary(), map[string]any{
			"spec.decrypters":      []any{"synthetic-monitoring"},
			"metadata.annotations": map[string]any{"secret.grafana.app/decryptersKeptBy": `["editor"]`},
		}))})
	if created.Code != http.StatusCreated || len(created.Header.Values("Warning")) > 0 {
		t.Fatalf("create: %d, %q", created.Code, created.Header.Values("Warning"))
	}
	got := a.want(t, http.StatusOK, http.MethodPatch, path(namespace, "again"), mergeType,
		`{"spec":{"value":"`+a.canary()+`"}}`)
	if all := strings.Join(got.Header.Values("Warning"), "\n"); !strings.Contains(all,
		`synthetic-monitoring (listed by \"extender\")`) {
		t.Errorf("an object made again by another user: got the warnings %q", all)
	}
}

func wantPlanted(t *testing.T, name string, got harness.Response) {
	t.Helper()
	const want = `299 - "this value can be opened by decrypters that other users listed since you last wrote a ` +
		`value: ` +
		`synthetic-monitoring (listed by \"planter\"); spec.decrypters is [k6-cloud, synthetic-monitoring]"`
	if all := got.Header.Values("Warning"); len(all) != 1 || all[0] != want {
		t.Errorf("%s: got the warnings %q, want %q", name, all, want)
	}
}

// managers: metadata.managedFields has at most 100 entries and 128 KiB, by whatever request it would grow.
func (a *api) managers(t *testing.T) {
	const namespace, name = "managers", "one"
	a.create(t, namespace, name, nil)
	one := path(namespace, name)
	apply := func(manager int) (int, []byte) {
		body := text(t, map[string]any{
			"apiVersion": "secret.grafana.app/v1beta1", "kind": "SecureValue",
			"metadata": map[string]any{"name": name, "labels": map[string]any{"app": "shop"}},
		})
		got := a.do(t, http.MethodPatch, fmt.Sprintf("%s?fieldManager=manager-%d", one, manager), applyType, body)
		return got.Code, got.Body
	}
	refused := 0
	for refused <= 110 {
		code, body := apply(refused)
		if code != http.StatusOK {
			wantManagersRefused(t, "server-side apply", code, body)
			break
		}
		refused++
	}
	if refused != 99 { // the creator is a manager too
		t.Errorf("server-side apply: %d managers were taken", refused)
	}

	for name, entries := range map[string][]any{"too many": many(101), "too large": {entry("one", 129<<10)}} {
		a.ownManagedFields(t, one, name, entries)
	}
	a.want(t, http.StatusOK, http.MethodPatch, one, mergeType,
		text(t, map[string]any{"metadata": map[string]any{"managedFields": []any{map[string]any{}}}}))
	if code, body := apply(refused); code != http.StatusOK {
		t.Errorf("after the entries were dropped: %d %s", code, body)
	}
}

// ownManagedFields sends entries by each kind of request that may hold some.
func (a *api) ownManagedFields(t *testing.T, one, name string, entries []any) {
	t.Helper()
	replaced := a.want(t, http.StatusOK, http.MethodGet, one, "", "").Object(t)
	set(replaced, []string{"metadata", "managedFields"}, entries)
	body := text(t, replaced)
	var typed v1beta1.SecureValue
	if err := json.Unmarshal([]byte(body), &typed); err != nil {
		t.Fatal(err)
	}
	var wire bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(&typed, &wire); err != nil {
		t.Fatal(err)
	}
	patch := text(t, map[string]any{"metadata": map[string]any{"managedFields": entries}})
	operations := text(t, []any{map[string]any{"op": "replace", "path": "/metadata/managedFields", "value": entries}})
	for _, request := range []struct{ method, contentType, body string }{
		{http.MethodPut, jsonType, body},
		{http.MethodPut, protoType, wire.String()},
		{http.MethodPatch, mergeType, patch},
		{http.MethodPatch, stratType, patch},
		{http.MethodPatch, patchType, operations},
	} {
		got := a.do(t, request.method, one, request.contentType, request.body)
		wantManagersRefused(t, name+" "+request.method+" "+request.contentType, got.Code, got.Body)
	}
}

func wantManagersRefused(t *testing.T, name string, code int, body []byte) {
	t.Helper()
	if code != http.StatusBadRequest || !bytes.Contains(body, []byte(validation.ErrManagedFields.Error())) {
		t.Errorf("%s: want 400 and %q, got %d: %s", name, validation.ErrManagedFields, code, body)
	}
}

func many(n int) []any {
	entries := make([]any, 0, n)
	for i := range n {
		entries = append(entries, entry(fmt.Sprintf("manager-%d", i), 1))
	}
	return entries
}

// entry is of a manager of updates, which upstream would merge, that owns labels whose keys are so many bytes together.
func entry(manager string, size int) map[string]any {
	labels := map[string]any{}
	for i := 0; i < size; i += 200 {
		labels[fmt.Sprintf("f:%0*d", min(size, 200), i)] = map[string]any{}
	}
	return map[string]any{
		"manager": manager, "operation": "Update", "apiVersion": "secret.grafana.app/v1beta1", "fieldsType": "FieldsV1",
		"fieldsV1": map[string]any{"f:metadata": map[string]any{"f:labels": labels}},
	}
}
