// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"net/http"
	"strings"
	"testing"

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
