// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// deletes: a Status with code 200 and details, or the object as long as finalizers hold it.
func (a *api) deletes(t *testing.T) {
	created := a.create(t, "deletes", "one", nil)
	status := a.want(t, http.StatusOK, http.MethodDelete, path("deletes", "one"), "", "").Status(t)
	if status.Status != "Success" || status.Code != http.StatusOK || status.Details == nil ||
		status.Details.Name != "one" || string(status.Details.UID) != at(created, "metadata", "uid") {
		t.Errorf("want Success, 200 and details with the uid, got %+v", status)
	}
	a.want(t, http.StatusNotFound, http.MethodDelete, path("deletes", "one"), "", "")
	t.Run("finalizers", a.finalizers)
	t.Run("deletion by a write", a.deletionByWrite)
	t.Run("propagation", a.propagation)
	t.Run("owners", a.owners)
	t.Run("preconditions", a.preconditions)
	t.Run("collection", a.deleteCollection)
}

// finalizers: the object of a deleted value waits for them without its value, and takes no new one.
func (a *api) finalizers(t *testing.T) {
	hold := map[string]any{"metadata.finalizers": []any{"example.com/a", "example.com/b"}}
	one := path("finalizers", "one")
	created := a.create(t, "finalizers", "one", hold)
	a.want(t, http.StatusOK, http.MethodDelete, one+"?dryRun=All", "", "")
	if diff := cmp.Diff(created, a.get(t, "finalizers", "one")); diff != "" {
		t.Errorf("a dry run of a delete changed the object: %s", diff)
	}
	held := a.want(t, http.StatusOK, http.MethodDelete, one+"?gracePeriodSeconds=30", "", "").Object(t)
	for what, object := range map[string]map[string]any{"answer": held, "object": a.get(t, "finalizers", "one")} {
		if object["kind"] != "SecureValue" || at(object, "metadata", "deletionTimestamp") == nil ||
			at(object, "status", "key") != nil || at(object, "status", "version") != 1.0 {
			t.Errorf("the %s: want it marked, with its version and without a key, got %v", what, object)
		}
	}
	a.want(t, http.StatusOK, http.MethodDelete, one, "", "") // again: it still waits
	a.wantNoNewValue(t, one)
	// What brings no value needs none, whatever the verb.
	for _, write := range []struct{ method, contentType, body string }{
		{http.MethodPatch, mergeType, `{"metadata":{"labels":{"seen":"yes"}},"spec":{"decrypters":[]}}`},
		{http.MethodPatch, patchType, `[{"op":"remove","path":"/metadata/finalizers/0"}]`},
		{http.MethodPut, jsonType, text(t, manifest("one", "",
			map[string]any{"spec.value": nil, "metadata.finalizers": []any{"example.com/b"}}))},
	} {
		a.want(t, http.StatusOK, write.method, one, write.contentType, write.body)
	}
	exists := a.want(t, http.StatusConflict, http.MethodPost, harness.Collection("finalizers"), jsonType,
		text(t, manifest("one", a.canary(), nil)))
	if status := exists.Status(t); status.Reason != metav1.StatusReasonAlreadyExists {
		t.Errorf("create: %+v", status)
	}
	a.want(t, http.StatusOK, http.MethodPut, one, jsonType,
		text(t, manifest("one", "", map[string]any{"spec.value": nil})))
	a.want(t, http.StatusNotFound, http.MethodGet, one, "", "")
	// A patch that empties the finalizers ends in the same place.
	a.create(t, "finalizers", "two", hold)
	a.want(t, http.StatusOK, http.MethodDelete, path("finalizers", "two"), "", "")
	a.want(t, http.StatusOK, http.MethodPatch, path("finalizers", "two"), mergeType, `{"metadata":{"finalizers":null}}`)
	a.want(t, http.StatusNotFound, http.MethodGet, path("finalizers", "two"), "", "")
}

// wantNoNewValue writes a value to a deleted object in every way, in earnest and as a dry run. A write that also
// removes the last finalizer is one of them.
func (a *api) wantNoNewValue(t *testing.T, object string) {
	t.Helper()
	name := object[strings.LastIndex(object, "/")+1:]
	for _, write := range []struct{ method, query, contentType, body string }{
		{http.MethodPut, "", jsonType, text(t, manifest(name, a.canary(), nil))},
		{http.MethodPut, "", jsonType, text(t,
			manifest(name, a.canary(), map[string]any{"metadata.finalizers": []any{"example.com/a"}}))},
		{http.MethodPatch, "", mergeType, `{"spec":{"value":"` + a.canary() + `"}}`},
		{http.MethodPatch, "", mergeType, `{"metadata":{"finalizers":null},"spec":{"value":"` + a.canary() + `"}}`},
		{http.MethodPatch, "", patchType, `[{"op":"add","path":"/spec/value","value":"` + a.canary() + `"}]`},
		{http.MethodPatch, "fieldManager=test&force=true", applyType, text(t, manifest(name, a.canary(), nil))},
	} {
		for _, dryRun := range []string{"", "dryRun=All"} {
			status := a.want(t, http.StatusConflict, write.method, object+"?"+write.query+"&"+dryRun,
				write.contentType, write.body).Status(t)
			if status.Reason != metav1.StatusReasonConflict || len(status.Details.Causes) != 1 ||
				status.Details.Causes[0].Type != secret.CauseDeleted {
				t.Errorf("%s %s: want a Conflict because of the deletion, got %+v", write.method, write.contentType,
					status)
			}
		}
	}
}

// deletionByWrite: a writer, who may not delete, cannot mark an object as deleted, which would destroy its value.
func (a *api) deletionByWrite(t *testing.T) {
	one := path("marked", "one")
	created := a.create(t, "marked", "one", nil)
	const mark = `"deletionTimestamp":"2026-01-02T03:04:05Z","deletionGracePeriodSeconds":0`
	for _, write := range []struct{ method, query, contentType, body string }{
		{http.MethodPatch, "", mergeType, `{"metadata":{` + mark + `}}`},
		{http.MethodPatch, "", mergeType, `{"metadata":{` + mark + `,"finalizers":["example.com/a"]}}`},
		{http.MethodPatch, "?fieldManager=test", applyType,
			`{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue","metadata":{"name":"one",` + mark + `}}`},
		{http.MethodPut, "", jsonType, text(t, manifest("one", a.canary(), map[string]any{
			"metadata.deletionTimestamp": "2026-01-02T03:04:05Z", "metadata.finalizers": []any{"example.com/a"},
		}))},
	} {
		a.want(t, http.StatusBadRequest, write.method, one+write.query, write.contentType, write.body)
	}
	if diff := cmp.Diff(created, a.get(t, "marked", "one")); diff != "" {
		t.Errorf("the object changed: %s", diff)
	}
	marked := a.create(t, "marked", "new", map[string]any{"metadata.deletionTimestamp": "2026-01-02T03:04:05Z"})
	if at(marked, "metadata", "deletionTimestamp") != nil {
		t.Errorf("an object was created as a deleted one: %v", marked)
	}
}

// propagation: a standalone server has no garbage collector, so no policy makes an object wait for one.
func (a *api) propagation(t *testing.T) {
	options := func(field, value string) string {
		return `{"kind":"DeleteOptions","apiVersion":"v1","` + field + `":` + value + `}`
	}
	for _, how := range []struct{ query, body string }{
		{"?propagationPolicy=Foreground", ""}, {"?propagationPolicy=Orphan", ""}, {"?propagationPolicy=Background", ""},
		{"?orphanDependents=true", ""}, {"?orphanDependents=false", ""},
		{"", options("propagationPolicy", `"Foreground"`)}, {"", options("propagationPolicy", `"Orphan"`)},
		{"", options("orphanDependents", "true")}, {"", options("orphanDependents", "false")}, {"", ""},
	} {
		contentType := ""
		if how.body != "" {
			contentType = jsonType
		}
		for _, finalizer := range []string{"", "foregroundDeletion", "orphan"} {
			var fields map[string]any
			if finalizer != "" {
				fields = map[string]any{"metadata.finalizers": []any{finalizer}}
			}
			for _, target := range []string{path("propagation", "one"), harness.Collection("propagation")} {
				a.create(t, "propagation", "one", fields)
				a.want(t, http.StatusOK, http.MethodDelete, target+how.query, contentType, how.body)
				a.want(t, http.StatusNotFound, http.MethodGet, path("propagation", "one"), "", "")
			}
		}
	}
	// A finalizer of a user stays, that of the garbage collector is not added.
	a.create(t, "propagation", "held", map[string]any{"metadata.finalizers": []any{"example.com/a", "orphan"}})
	held := a.want(t, http.StatusOK, http.MethodDelete, path("propagation", "held")+"?propagationPolicy=Foreground",
		"", "").Object(t)
	if diff := cmp.Diff([]any{"example.com/a"}, at(held, "metadata", "finalizers")); diff != "" {
		t.Error(diff)
	}
	a.want(t, http.StatusBadRequest, http.MethodPatch, path("propagation", "held"), mergeType,
		`{"metadata":{"finalizers":["example.com/a","foregroundDeletion"]}}`)
	a.want(t, http.StatusOK, http.MethodPatch, path("propagation", "held"), mergeType, `{"metadata":{"finalizers":[]}}`)
	a.want(t, http.StatusNotFound, http.MethodGet, path("propagation", "held"), "", "")
}

// owners: nothing acts on owner references, which a write that sets them is told.
func (a *api) owners(t *testing.T) {
	warned := func(r harness.Response) bool {
		return strings.Contains(r.Header.Get("Warning"), "metadata.ownerReferences")
	}
	owner := func(uid string) []any {
		return []any{map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}}
	}
	one := path("owners", "one")
	patch := func(owners any) string {
		return text(t, map[string]any{"metadata": map[string]any{"ownerReferences": owners}})
	}
	for _, write := range []struct {
		want                     bool
		method, path, kind, body string
	}{
		{true, http.MethodPost, harness.Collection("owners"), jsonType,
			text(t, manifest("one", a.canary(), map[string]any{"metadata.ownerReferences": owner("a")}))},
		{false, http.MethodPatch, one, mergeType, `{"metadata":{"labels":{"a":"b"}}}`},
		{true, http.MethodPatch, one, mergeType, patch(owner("b"))},
		{false, http.MethodPut, one, jsonType,
			text(t, manifest("one", a.canary(), map[string]any{"metadata.ownerReferences": owner("b")}))},
		{true, http.MethodPut, one + "?dryRun=All", jsonType,
			text(t, manifest("one", a.canary(), map[string]any{"metadata.ownerReferences": owner("c")}))},
		{false, http.MethodPatch, one, mergeType, patch(nil)},
		{true, http.MethodPatch, one + "?fieldManager=test", applyType,
			`{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue",` + patch(owner("d"))[1:]},
	} {
		response := a.do(t, write.method, write.path, write.kind, write.body)
		if response.Code >= http.StatusBadRequest || warned(response) != write.want {
			t.Errorf("%s %s: %d, Warning %q; want a warning: %v", write.method, write.body, response.Code,
				response.Header.Get("Warning"), write.want)
		}
	}
}

func (a *api) preconditions(t *testing.T) {
	created := a.create(t, "preconditions", "one", nil)
	one := path("preconditions", "one")
	body := func(uid, version any) string {
		return text(t, map[string]any{"kind": "DeleteOptions", "apiVersion": "v1",
			"preconditions": map[string]any{"uid": uid, "resourceVersion": version}})
	}
	uid, version := at(created, "metadata", "uid"), at(created, "metadata", "resourceVersion")
	a.want(t, http.StatusConflict, http.MethodDelete, one, jsonType, body("other", version))
	a.want(t, http.StatusConflict, http.MethodDelete, one, jsonType, body(uid, "1"))
	a.want(t, http.StatusConflict, http.MethodDelete, one+"?propagationPolicy=Foreground", jsonType,
		body("other", version))
	a.want(t, http.StatusOK, http.MethodDelete, one, jsonType, body(uid, version))
	// With a finalizer, which makes the delete a write: the conditions hold for the second delete as well.
	held := a.create(t, "preconditions", "held",
		map[string]any{"metadata.finalizers": []any{"example.com/a", "orphan"}})
	one, uid, version = path("preconditions", "held"), at(held, "metadata", "uid"),
		at(held, "metadata", "resourceVersion")
	a.want(t, http.StatusConflict, http.MethodDelete, one, jsonType, body("other", version))
	a.want(t, http.StatusConflict, http.MethodDelete, one, jsonType, body(uid, "1"))
	if diff := cmp.Diff(held, a.get(t, "preconditions", "held")); diff != "" {
		t.Errorf("a delete whose conditions do not hold changed the object: %s", diff)
	}
	a.want(t, http.StatusOK, http.MethodDelete, one, jsonType, body(uid, version))
	a.want(t, http.StatusConflict, http.MethodDelete, one, jsonType, body(uid, version))
}

func (a *api) deleteCollection(t *testing.T) {
	const namespace = "collection"
	all := harness.Collection(namespace)
	for name, fields := range map[string]map[string]any{
		"a-k6": {"metadata.labels": map[string]any{"app": "a"}},
		"b-k6": {"metadata.labels": map[string]any{"app": "b"}},
		"b-synthetic": {"metadata.labels": map[string]any{"app": "b"},
			"spec.decrypters": []any{"synthetic-monitoring"}},
		"none": {"spec.decrypters": nil},
	} {
		a.create(t, namespace, name, fields)
	}
	a.create(t, "collection-of-another", "a-k6", map[string]any{"metadata.labels": map[string]any{"app": "a"}})
	for _, step := range []struct {
		query string
		left  []string
	}{
		{"?dryRun=All", []string{"a-k6", "b-k6", "b-synthetic", "none"}},
		{"?labelSelector=app%3Dc", []string{"a-k6", "b-k6", "b-synthetic", "none"}},
		{"?labelSelector=app%3Da", []string{"b-k6", "b-synthetic", "none"}},
		{"?fieldSelector=spec.decrypter%3Dsynthetic-monitoring", []string{"b-k6", "none"}},
		{"?fieldSelector=metadata.name%3Dnone", []string{"b-k6"}},
		{"", nil},
	} {
		a.want(t, http.StatusOK, http.MethodDelete, all+step.query, "", "")
		a.wantNames(t, all, step.left...)
	}
	a.wantNames(t, harness.Collection("collection-of-another"), "a-k6")
}
