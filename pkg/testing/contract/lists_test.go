// SPDX-License-Identifier: Apache-2.0

package contract

import (
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
