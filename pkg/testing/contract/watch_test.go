// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// stream is an open watch.
type stream struct {
	scanner *bufio.Scanner
	api     *api
}

// watch opens a watch that ends with the test.
func (a *api) watch(t *testing.T, target string) *stream {
	t.Helper()
	scanner := bufio.NewScanner(a.Watch(t, target, editorToken))
	scanner.Buffer(nil, 1<<20)
	return &stream{scanner: scanner, api: a}
}

// want reads the next event, "TYPE name description" in short.
func (s *stream) want(t *testing.T, want string) map[string]any {
	t.Helper()
	if !s.scanner.Scan() {
		t.Fatalf("want %q, but the watch ended: %v", want, s.scanner.Err())
	}
	s.api.quiet(t, harness.Response{Body: s.scanner.Bytes()})
	var event struct {
		Type   string         `json:"type"`
		Object map[string]any `json:"object"`
	}
	if err := json.Unmarshal(s.scanner.Bytes(), &event); err != nil {
		t.Fatal(err)
	}
	name, _ := at(event.Object, "metadata", "name").(string)
	description, _ := at(event.Object, "spec", "description").(string)
	if got := strings.TrimSpace(strings.Join([]string{event.Type, name, description}, " ")); got != want {
		t.Fatalf("want the event %q, got %q: %s", want, got, s.scanner.Bytes())
	}
	if event.Object["kind"] != "SecureValue" || event.Object["apiVersion"] != "secret.grafana.app/v1beta1" {
		t.Errorf("%s: want kind and apiVersion, got %s", want, s.scanner.Bytes())
	}
	return event.Object
}

// watches: every change comes as an event, in order, without a value.
func (a *api) watches(t *testing.T) {
	const namespace = "watch"
	all, one := harness.Collection(namespace), path(namespace, "one")
	every := a.watch(t, all+"?watch=true")
	k6 := a.watch(t, all+"?watch=true&fieldSelector=spec.decrypter%3Dk6-cloud")
	named := a.watch(t, all+"?watch=true&fieldSelector=metadata.name%3Dtwo")

	created := a.create(t, namespace, "one", nil)
	if diff := cmp.Diff(created, every.want(t, "ADDED one d")); diff != "" {
		t.Errorf("the event differs from the answer (-answer +event):\n%s", diff)
	}
	k6.want(t, "ADDED one d")
	a.want(t, http.StatusOK, http.MethodPatch, one, mergeType, `{"spec":{"description":"e"}}`)
	every.want(t, "MODIFIED one e")
	k6.want(t, "MODIFIED one e")
	// A new value shows by its version only.
	a.want(t, http.StatusOK, http.MethodPatch, one, mergeType, `{"spec":{"value":"`+a.canary()+`"}}`)
	if event := every.want(t, "MODIFIED one e"); at(event, "status", "version") != 2.0 {
		t.Errorf("want version 2, got %v", event["status"])
	}
	k6.want(t, "MODIFIED one e")
	// What no longer matches is gone for who watches the match.
	a.want(t, http.StatusOK, http.MethodPatch, one, mergeType, `{"spec":{"description":"f","decrypters":null}}`)
	every.want(t, "MODIFIED one f")
	k6.want(t, "DELETED one e")
	a.create(t, namespace, "two", nil)
	every.want(t, "ADDED two d")
	k6.want(t, "ADDED two d")
	named.want(t, "ADDED two d")
	a.want(t, http.StatusOK, http.MethodDelete, path(namespace, "two"), "", "")
	every.want(t, "DELETED two d")
	k6.want(t, "DELETED two d")
	named.want(t, "DELETED two d")
	bookmarks(t, a, created)
}

// bookmarks: a watch from a resourceVersion replays what came since, and a streamed list ends with a bookmark.
func bookmarks(t *testing.T, a *api, created map[string]any) {
	t.Helper()
	version, _ := at(created, "metadata", "resourceVersion").(string)
	since := a.watch(t, harness.Collection("watch")+"?watch=true&resourceVersion="+version)
	since.want(t, "MODIFIED one e")
	since.want(t, "MODIFIED one e")
	since.want(t, "MODIFIED one f")
	since.want(t, "ADDED two d")
	since.want(t, "DELETED two d")
	streamed := a.watch(t,
		harness.Collection("watch")+"?watch=true&sendInitialEvents=true&"+
			"resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true")
	streamed.want(t, "ADDED one f")
	bookmark := streamed.want(t, "BOOKMARK")
	if at(bookmark, "metadata", "annotations", "k8s.io/initial-events-end") != "true" {
		t.Errorf("want the bookmark that ends the list, got %v", bookmark)
	}
}
