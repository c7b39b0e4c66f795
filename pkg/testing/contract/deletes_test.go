// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"net/http"
	"testing"

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
	t.Run("preconditions", a.preconditions)
	t.Run("collection", a.deleteCollection)
}

func (a *api) finalizers(t *testing.T) {
	one := path("finalizers", "one")
	a.create(t, "finalizers", "one", map[string]any{"metadata.finalizers": []any{"example.com/a"}})
	held := a.want(t, http.StatusOK, http.MethodDelete, one, "", "").Object(t)
	if held["kind"] != "SecureValue" || at(held, "metadata", "deletionTimestamp") == nil {
		t.Errorf("want the object while a finalizer holds it, got %v", held)
	}
	if at(a.get(t, "finalizers", "one"), "metadata", "deletionTimestamp") == nil {
		t.Error("want the object still there, and marked")
	}
	// The library answers this request with the request's own object: do looks for the value in it.
	gone := a.want(t, http.StatusOK, http.MethodPut, one, jsonType, text(t, manifest("one", a.canary(), nil))).Object(t)
	if at(gone, "spec", "value") != nil {
		t.Errorf("the last PUT echoes its value: %v", gone)
	}
	a.want(t, http.StatusNotFound, http.MethodGet, one, "", "")
	// A patch that empties the finalizers ends in the same place.
	a.create(t, "finalizers", "two", map[string]any{"metadata.finalizers": []any{"example.com/a"}})
	a.want(t, http.StatusOK, http.MethodDelete, path("finalizers", "two"), "", "")
	a.want(t, http.StatusOK, http.MethodPatch, path("finalizers", "two"), mergeType, `{"metadata":{"finalizers":null},"spec":{"value":"`+a.canary()+`"}}`)
	a.want(t, http.StatusNotFound, http.MethodGet, path("finalizers", "two"), "", "")
}

func (a *api) preconditions(t *testing.T) {
	created := a.create(t, "preconditions", "one", nil)
	one := path("preconditions", "one")
	body := func(uid, version any) string {
		return text(t, map[string]any{"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": map[string]any{"uid": uid, "resourceVersion": version}})
	}
	uid, version := at(created, "metadata", "uid"), at(created, "metadata", "resourceVersion")
	a.want(t, http.StatusConflict, http.MethodDelete, one, jsonType, body("other", version))
	a.want(t, http.StatusConflict, http.MethodDelete, one, jsonType, body(uid, "1"))
	a.want(t, http.StatusOK, http.MethodDelete, one, jsonType, body(uid, version))
}

func (a *api) deleteCollection(t *testing.T) {
	const namespace = "collection"
	all := harness.Collection(namespace)
	for name, fields := range map[string]map[string]any{
		"a-k6":        {"metadata.labels": map[string]any{"app": "a"}},
		"b-k6":        {"metadata.labels": map[string]any{"app": "b"}},
		"b-synthetic": {"metadata.labels": map[string]any{"app": "b"}, "spec.decrypters": []any{"synthetic-monitoring"}},
		"none":        {"spec.decrypters": nil},
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
