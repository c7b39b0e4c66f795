// SPDX-License-Identifier: Apache-2.0

package clients

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const valueRevision = "secret.grafana.app/value-revision"

// repository is a GitOps tool in one namespace: it compares the dry run of a manifest with the live object.
type repository struct {
	t         *testing.T
	suite     *suite
	namespace string
}

// testGitOps shows that such a tool stays quiet while nothing changed, and rolls out a value that was announced.
func testGitOps(t *testing.T, s *suite) {
	t.Helper()
	r := &repository{t: t, suite: s, namespace: s.person(t).namespace}
	m := manifest{
		name: "x", value: s.secret(), decrypters: []string{"k6-cloud"}, labels: map[string]string{"team": "red"},
		annotations: map[string]string{valueRevision: "1"},
	}
	planned := r.apply(m, true)
	if code := r.request(http.MethodGet, "", "").Code; code != http.StatusNotFound {
		t.Fatalf("the dry run of a new manifest stored it: %d", code)
	}
	created := r.apply(m, false)
	r.same("a new manifest", planned, created, "metadata.uid", "metadata.creationTimestamp", "status.key")
	r.same("what was applied", r.apply(m, true), r.live())

	m.value = s.secret() // not announced: no tool can see it
	r.same("an unannounced value", r.apply(m, true), r.live())
	if version := r.live()["status.version"]; version != 1.0 {
		t.Errorf("status.version after dry runs: %v", version)
	}

	m.annotations[valueRevision] = "2"
	r.differs("an announced value", r.apply(m, true), r.live(), "metadata.annotations."+valueRevision)
	r.apply(m, false)
	live := r.live()
	if live["status.version"] != 2.0 || live["metadata.annotations."+valueRevision] != "2" {
		t.Errorf("rolled out: %v", live)
	}
	r.same("what was rolled out", r.apply(m, true), live)

	m.description = "changed"
	r.differs("another description", r.apply(m, true), live, "spec.description")
}

func (r *repository) request(method, query, body string) harness.Response {
	r.t.Helper()
	response := r.suite.Do(r.t, harness.Request{
		Method: method, Path: harness.Collection(r.namespace) + "/x" + query, Token: r.suite.AdminToken,
		ContentType: "application/apply-patch+yaml", Body: body,
	})
	r.suite.clean(r.t, "a response", string(response.Body))
	return response
}

// apply is a server-side apply. It returns the fields of the answer.
func (r *repository) apply(m manifest, dryRun bool) map[string]any {
	r.t.Helper()
	query := "?fieldManager=gitops&force=true"
	if dryRun {
		query += "&dryRun=All"
	}
	response := r.request(http.MethodPatch, query, m.String())
	if response.Code/100 != 2 {
		r.t.Fatalf("apply: %d %s", response.Code, response.Body)
	}
	return fields(response.Object(r.t))
}

func (r *repository) live() map[string]any {
	r.t.Helper()
	return fields(r.request(http.MethodGet, "", "").Object(r.t))
}

// fields are the fields of an object by their paths, without those that GitOps tools leave out of a comparison.
func fields(object map[string]any) map[string]any {
	flat := map[string]any{}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		children, ok := value.(map[string]any)
		if !ok {
			flat[path] = value
		}
		for key, child := range children {
			switch at := path + "." + key; at {
			case ".metadata.managedFields", ".metadata.resourceVersion":
			default:
				walk(at, child)
			}
		}
	}
	walk("", object)
	trimmed := make(map[string]any, len(flat))
	for path, value := range flat {
		trimmed[path[1:]] = value
	}
	return trimmed
}

// same fails the test when another field than the ignored ones differs.
func (r *repository) same(what string, dryRun, live map[string]any, ignored ...string) {
	r.t.Helper()
	for _, path := range ignored {
		delete(dryRun, path)
		delete(live, path)
	}
	if diff := cmp.Diff(live, dryRun); diff != "" {
		r.t.Errorf("%s: live and dry run differ: %s", what, diff)
	}
}

// differs fails the test unless the field differs, and nothing else but who changed it and how often.
func (r *repository) differs(what string, dryRun, live map[string]any, path string) {
	r.t.Helper()
	if dryRun[path] == live[path] {
		r.t.Errorf("%s: %s does not differ", what, path)
	}
	r.same(what, dryRun, live, path, "metadata.generation",
		"metadata.annotations.grafana.app/updatedBy", "metadata.annotations.grafana.app/updatedTimestamp")
}
