// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestSemantics is the rest of the contract: what a good request does.
func TestSemantics(t *testing.T) {
	a := startAPI(t)
	core(t, a)
	t.Run("bodies", a.bodies)
	t.Run("clients", a.clients)
	t.Run("dry run", a.dryRun)
	t.Run("who and when", a.whoAndWhen)
	t.Run("formats", a.formats)
	t.Run("table", a.table)
	t.Run("last applied", a.lastApplied)
	a.noTrace(t)
}

// TestWatchCacheOff repeats what the watch cache could change.
func TestWatchCacheOff(t *testing.T) {
	a := startAPI(t, "--watch-cache=false")
	core(t, a)
	a.noTrace(t)
}

// core is what depends on storage and cache.
func core(t *testing.T, a *api) {
	t.Helper()
	t.Run("versions", a.versions)
	t.Run("replace", a.replace)
	t.Run("patch", a.patches)
	t.Run("decrypters", a.decrypters)
	t.Run("planted", a.planted)
	t.Run("managers", a.managers)
	t.Run("delete", a.deletes)
	t.Run("lists", a.lists)
	t.Run("watch", a.watches)
}

// numbers are what counts the changes of an object.
type numbers struct{ version, generation any }

func numbersOf(object map[string]any) numbers {
	return numbers{at(object, "status", "version"), at(object, "metadata", "generation")}
}

// versions: status.version counts values, metadata.generation counts specs, labels count as neither.
func (a *api) versions(t *testing.T) {
	created := a.create(t, "versions", "one", nil)
	if got := numbersOf(created); got != (numbers{1.0, 1.0}) {
		t.Errorf("created: want version 1 and generation 1, got %v", got)
	}
	value := a.canary()
	for _, step := range []struct {
		name, patch string
		want        numbers
	}{
		{"a label", `{"metadata":{"labels":{"a":"b"}}}`, numbers{1.0, 1.0}},
		{"an annotation", `{"metadata":{"annotations":{"secret.grafana.app/value-revision":"2"}}}`, numbers{1.0, 1.0}},
		{"a description", `{"spec":{"description":"e"}}`, numbers{1.0, 2.0}},
		{"nothing", `{}`, numbers{1.0, 2.0}},
		{"a value", `{"spec":{"value":"` + value + `"}}`, numbers{2.0, 3.0}},
		{"the same value again", `{"spec":{"value":"` + value + `"}}`, numbers{3.0, 4.0}},
		{"no value", `{"spec":{"value":null}}`, numbers{3.0, 4.0}},
		{"a decrypter less", `{"spec":{"decrypters":[]}}`, numbers{3.0, 5.0}},
		{"a status", `{"status":{"version":99,"keeper":"mine"}}`, numbers{3.0, 5.0}},
	} {
		before := resourceVersion(a.get(t, "versions", "one"))
		got := a.want(t, http.StatusOK, http.MethodPatch, path("versions", "one"), mergeType, step.patch).Object(t)
		if numbersOf(got) != step.want {
			t.Errorf("%s: want %v, got %v", step.name, step.want, numbersOf(got))
		}
		after := resourceVersion(got)
		if noOp := step.name == "nothing" || step.name == "no value" ||
			step.name == "a status"; noOp != (after == before) {
			t.Errorf("%s: resourceVersion went from %d to %d", step.name, before, after)
		} else if after < before {
			t.Errorf("%s: resourceVersion fell from %d to %d", step.name, before, after)
		}
		if diff := cmp.Diff(a.get(t, "versions", "one"), got); diff != "" {
			t.Errorf("%s: a read differs from the answer of the write (-read +answer):\n%s", step.name, diff)
		}
	}
	if keeper := at(a.get(t, "versions", "one"), "status", "keeper"); keeper != "system" {
		t.Errorf("want the server's keeper, got %v", keeper)
	}
}

// replace: a PUT is the whole truth, except for a value that its writer has seen a resourceVersion of.
func (a *api) replace(t *testing.T) {
	one := path("replace", "one")
	created := a.create(t, "replace", "one", map[string]any{"metadata.labels": map[string]any{"a": "b"},
		"metadata.annotations": map[string]any{"x": "y"}})
	version, _ := at(created, "metadata", "resourceVersion").(string)
	put := func(code int, fields map[string]any) map[string]any {
		t.Helper()
		return a.want(t, code, http.MethodPut, one, jsonType, text(t, manifest("one", a.canary(), fields))).Object(t)
	}
	if got := put(http.StatusBadRequest, map[string]any{"spec.value": nil}); at(got, "reason") != "Invalid" {
		t.Errorf("neither value nor resourceVersion: %v", got)
	}
	kept := put(http.StatusOK, map[string]any{"spec.value": nil, "spec.description": "kept",
		"metadata.resourceVersion": version})
	if numbersOf(kept) != (numbers{1.0, 2.0}) || at(kept, "spec", "description") != "kept" {
		t.Errorf("resourceVersion without a value: want the value kept, got %v", kept)
	}
	if at(kept, "metadata", "labels") != nil || at(kept, "metadata", "annotations", "x") != nil {
		t.Errorf("labels and annotations that a PUT leaves out are gone, got %v", kept["metadata"])
	}
	for name, value := range map[string]any{"with a value": a.canary(), "without": nil} {
		if got := put(http.StatusConflict, map[string]any{"spec.value": value,
			"metadata.resourceVersion": version}); at(got, "reason") != "Conflict" {
			t.Errorf("stale resourceVersion %s: %v", name, got)
		}
	}
	got := put(http.StatusOK, map[string]any{"spec.decrypters": nil, "metadata.labels": map[string]any{"c": "d"}})
	if numbersOf(got) != (numbers{2.0, 3.0}) || at(got, "spec", "decrypters") != nil {
		t.Errorf("value without resourceVersion: want a new version and no decrypters, got %v", got)
	}
	if diff := cmp.Diff(map[string]any{"c": "d"}, at(got, "metadata", "labels")); diff != "" {
		t.Error(diff)
	}
	if got = put(http.StatusOK, map[string]any{"metadata.labels": map[string]any{}}); at(got, "metadata",
		"labels") != nil {
		t.Errorf("{} clears the labels, got %v", at(got, "metadata", "labels"))
	}
	if got["metadata"].(map[string]any)["uid"] != created["metadata"].(map[string]any)["uid"] {
		t.Error("a PUT made another object")
	}
	a.want(t, http.StatusNotFound, http.MethodPut, path("replace", "absent"), jsonType,
		text(t, manifest("absent", a.canary(), nil)))
	a.want(t, http.StatusNotFound, http.MethodPatch, path("replace", "absent"), mergeType, `{}`)
	a.want(t, http.StatusNotFound, http.MethodGet, path("replace", "absent"), "", "")
}

// patches: in every format, what is left out stays.
func (a *api) patches(t *testing.T) {
	one := path("patches", "one")
	a.create(t, "patches", "one", nil)
	value := func() string { return `"` + a.canary() + `"` }
	head := "apiVersion: secret.grafana.app/v1beta1\nkind: SecureValue\nspec: "
	for i, step := range []struct {
		contentType, query, body, description string
		version                               float64
	}{
		{mergeType, "", `{"spec":{"description":"merge"}}`, "merge", 1},
		{mergeType, "", `{"spec":{"value":` + value() + `}}`, "merge", 2},
		{stratType, "", `{"spec":{"description":"strategic"}}`, "strategic", 2},
		{stratType, "", `{"spec":{"value":` + value() + `}}`, "strategic", 3},
		{patchType, "", `[{"op":"replace","path":"/spec/description","value":"json"}]`, "json", 3},
		{patchType, "", `[{"op":"add","path":"/spec/value","value":` + value() + `}]`, "json", 4},
		{patchType, "", `[{"op":"replace","path":"/spec","value":{"description":"whole","decrypters":["k6-cloud"]}}]`,
			"whole", 4},
		{applyType, "?fieldManager=m&force=true", head + `{description: apply}`, "apply", 4},
		{applyType, "?fieldManager=m", head + `{description: apply, value: ` + value() + `}`, "apply", 5},
		{applyType, "?fieldManager=other&force=true", head + `{description: other, value: ` + value() + `}`, "other",
			6},
		{mergeType, "", `{"metadata":{"labels":{"a":"b"}}}`, "other", 6},
	} {
		got := a.want(t, http.StatusOK, http.MethodPatch, one+step.query, step.contentType, step.body).Object(t)
		if at(got, "spec", "description") != step.description || at(got, "status", "version") != step.version {
			t.Errorf("step %d: want %q with version %v, got %v", i, step.description, step.version, got)
		}
		if diff := cmp.Diff([]any{"k6-cloud"}, at(got, "spec", "decrypters")); diff != "" {
			t.Errorf("step %d: decrypters: %s", i, diff)
		}
	}
	managed, _ := at(a.get(t, "patches", "one"), "metadata", "managedFields").([]any)
	for _, entry := range managed {
		if spec, ok := at(entry.(map[string]any), "fieldsV1", "f:spec").(map[string]any); ok && spec["f:value"] != nil {
			t.Errorf("nobody owns the value, got %v", entry)
		}
	}
	// Apply creates too.
	head = "apiVersion: secret.grafana.app/v1beta1\nkind: SecureValue\nmetadata: {name: two}\nspec: "
	a.want(t, http.StatusCreated, http.MethodPatch, path("patches", "two")+"?fieldManager=m", applyType,
		head+`{description: apply, value: `+value()+`}`)
	a.want(t, http.StatusBadRequest, http.MethodPatch, path("patches", "three")+"?fieldManager=m", applyType,
		strings.Replace(head, "two", "three", 1)+`{description: apply}`)
}

// decrypters: write access is not read access, so adding one requires a new value or the verb extend.
func (a *api) decrypters(t *testing.T) {
	one := path("decrypters", "one")
	list := func(names ...any) map[string]any {
		return map[string]any{"spec.decrypters": names,
			"metadata.resourceVersion": at(a.get(t, "decrypters", "one"), "metadata", "resourceVersion")}
	}
	a.create(t, "decrypters", "one", nil)
	k6, synthetic, provisioning := "k6-cloud", "synthetic-monitoring", "provisioning.grafana.app"
	for _, step := range []struct {
		name, token string
		value       bool
		names       []any
		code        int
	}{
		{"added without a value", editorToken, false, []any{k6, synthetic}, http.StatusForbidden},
		{"swapped without a value", editorToken, false, []any{synthetic}, http.StatusForbidden},
		{"added with a value", editorToken, true, []any{k6, synthetic}, http.StatusOK},
		{"reordered", editorToken, false, []any{synthetic, k6}, http.StatusOK},
		{"added with the verb extend", extenderToken, false, []any{synthetic, k6, provisioning}, http.StatusOK},
		{"removed", editorToken, false, []any{k6}, http.StatusOK},
		{"removed is gone", editorToken, false, []any{k6, synthetic}, http.StatusForbidden},
		{"all removed", editorToken, false, nil, http.StatusOK},
		{"unlisted with the verb extend", extenderToken, false, []any{"nobody"}, http.StatusBadRequest},
		{"unlisted with a value", editorToken, true, []any{"nobody"}, http.StatusBadRequest},
	} {
		before := a.get(t, "decrypters", "one")
		fields := list(step.names...)
		if !step.value {
			fields["spec.value"] = nil
		}
		got := a.send(t, harness.Request{Method: http.MethodPut, Path: one, Token: step.token, ContentType: jsonType,
			Body: text(t, manifest("one", a.canary(), fields))})
		if got.Code != step.code {
			t.Fatalf("%s: want %d, got %d: %s", step.name, step.code, got.Code, got.Body)
		}
		now := a.get(t, "decrypters", "one")
		if step.code != http.StatusOK {
			if diff := cmp.Diff(before, now); diff != "" {
				t.Errorf("%s: refused and yet changed (-before +after):\n%s", step.name, diff)
			}
			continue
		}
		names, _ := at(now, "spec", "decrypters").([]any)
		if !slices.Equal(names, step.names) {
			t.Errorf("%s: want %v in this order, got %v", step.name, step.names, names)
		}
	}
	// The same by patch, where nothing looks like a whole new list.
	for contentType, body := range map[string]string{
		mergeType: `{"spec":{"decrypters":["k6-cloud"]}}`, stratType: `{"spec":{"decrypters":["k6-cloud"]}}`,
		patchType: `[{"op":"add","path":"/spec/decrypters","value":["k6-cloud"]}]`,
		applyType: "{apiVersion: secret.grafana.app/v1beta1, kind: SecureValue, spec: {description: d, decrypters: " +
			"[k6-cloud]}}",
	} {
		a.want(t, http.StatusForbidden, http.MethodPatch, one+"?fieldManager=m", contentType, body)
	}
}
