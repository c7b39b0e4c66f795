// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

func resourceVersion(object map[string]any) int64 {
	version, _ := at(object, "metadata", "resourceVersion").(string)
	number, _ := strconv.ParseInt(version, 10, 64)
	return number
}

// wantNames lists and compares the names.
func (a *api) wantNames(t *testing.T, target string, want ...string) {
	t.Helper()
	list := a.want(t, http.StatusOK, http.MethodGet, target, "", "").Object(t)
	names := []string{}
	for _, item := range list["items"].([]any) {
		names = append(names, at(item.(map[string]any), "metadata", "name").(string))
	}
	slices.Sort(names)
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("GET %s: want %v, got %v", target, want, names)
	}
}

// lists: selectors, pages, namespaces.
func (a *api) lists(t *testing.T) {
	empty := a.want(t, http.StatusOK, http.MethodGet, harness.Collection("empty"), "", "")
	if !strings.Contains(string(empty.Body), `"items":[]`) {
		t.Errorf("want an empty list, got %s", empty.Body)
	}
	for _, namespace := range []string{"default", "org-1", "stacks-2"} {
		a.create(t, namespace, "red-k6", map[string]any{"metadata.labels": map[string]any{"color": "red"}})
		a.create(t, namespace, "blue-both", map[string]any{
			"metadata.labels": map[string]any{"color": "blue"},
			"spec.decrypters": []any{"synthetic-monitoring", "k6-cloud"},
		})
		a.create(t, namespace, "none", map[string]any{"spec.decrypters": nil})
		t.Run(namespace, func(t *testing.T) { selectors(t, a, namespace) })
	}
	all := a.want(t, http.StatusOK, http.MethodGet,
		"/apis/secret.grafana.app/v1beta1/securevalues?labelSelector=color%3Dred", "", "").Object(t)
	found := map[any]bool{}
	for _, item := range all["items"].([]any) {
		found[at(item.(map[string]any), "metadata", "namespace")] = true
	}
	if diff := cmp.Diff(map[any]bool{"default": true, "org-1": true, "stacks-2": true}, found); diff != "" {
		t.Errorf("all namespaces:\n%s", diff)
	}
	t.Run("pages", a.pages)
}

func selectors(t *testing.T, a *api, namespace string) {
	t.Helper()
	for query, want := range map[string]string{
		"":                                                  "blue-both none red-k6",
		"labelSelector=color=red":                           "red-k6",
		"labelSelector=color":                               "blue-both red-k6",
		"labelSelector=!color":                              "none",
		"labelSelector=color in (red,blue)":                 "blue-both red-k6",
		"labelSelector=color!=red":                          "blue-both none",
		"fieldSelector=metadata.name=none":                  "none",
		"fieldSelector=metadata.name!=none":                 "blue-both red-k6",
		"fieldSelector=metadata.namespace=" + namespace:     "blue-both none red-k6",
		"fieldSelector=metadata.namespace=elsewhere":        "",
		"fieldSelector=spec.decrypter=k6-cloud":             "blue-both red-k6",
		"fieldSelector=spec.decrypter=synthetic-monitoring": "blue-both",
		"fieldSelector=spec.decrypter=k6":                   "",
		"fieldSelector=spec.decrypter!=k6-cloud":            "none",
		"fieldSelector=spec.decrypter=k6-cloud,spec.decrypter=synthetic-monitoring":  "blue-both",
		"fieldSelector=spec.decrypter=k6-cloud,spec.decrypter!=synthetic-monitoring": "red-k6",
		"labelSelector=color=red&fieldSelector=spec.decrypter=k6-cloud":              "red-k6",
	} {
		var parts []string
		for part := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(part, "=")
			parts = append(parts, name+"="+url.QueryEscape(value))
		}
		for _, version := range []string{"", "&resourceVersion=0"} {
			a.wantNames(t, harness.Collection(namespace)+"?"+strings.Join(parts, "&")+version, strings.Fields(want)...)
		}
	}
}

func (a *api) pages(t *testing.T) {
	var want []string
	for i := range 7 {
		want = append(want, fmt.Sprintf("page-%d", i))
		a.create(t, "pages", want[i], nil)
	}
	var names []string
	next := ""
	for page := 0; page == 0 || next != ""; page++ {
		list := a.want(t, http.StatusOK, http.MethodGet,
			harness.Collection("pages")+"?limit=3&continue="+url.QueryEscape(next), "", "").Object(t)
		items := list["items"].([]any)
		if len(items) > 3 {
			t.Fatalf("page %d has %d items", page, len(items))
		}
		for _, item := range items {
			object := item.(map[string]any)
			if object["kind"] != "SecureValue" || object["apiVersion"] != "secret.grafana.app/v1beta1" {
				t.Errorf("an item carries kind and apiVersion, got %v", object)
			}
			names = append(names, at(object, "metadata", "name").(string))
		}
		next, _ = at(list, "metadata", "continue").(string)
	}
	if !slices.Equal(names, want) {
		t.Errorf("want %v, got %v", want, names)
	}
}

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
