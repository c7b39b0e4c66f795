// SPDX-License-Identifier: Apache-2.0

package security

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// forms are the ways to ask for an answer.
var forms = []string{
	"", jsonType, "application/yaml", "application/vnd.kubernetes.protobuf",
	"application/json;as=Table;v=v1;g=meta.k8s.io",
	"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
	"application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
	"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
}

// TestIncident10ListsShowNoMoreThanGet: lists and watches went around what get refused (GHSA-xp3c-3jw3-4vcr,
// CVE-2022-3162, CVE-2026-73499), and a selector is a question about what it selects by.
func TestIncident10ListsShowNoMoreThanGet(t *testing.T) {
	s := start(t)
	canary := harness.Canary()
	s.Create(t, "default", "a", canary, "k6-cloud")
	s.Create(t, "default", "b", canary, "k6-cloud")
	all := harness.Collection("default")
	ask := func(token, path, form string) harness.Response {
		t.Helper()
		got := s.Do(t, harness.Request{Method: http.MethodGet, Path: path, Token: token,
			Header: http.Header{"Accept": {form}}})
		clean(t, path+" as "+form, got, canary)
		return got
	}
	everywhere := "/apis/secret.grafana.app/v1beta1/securevalues"
	for _, form := range forms {
		for _, query := range []string{"", "?limit=1", "?resourceVersion=0", "?watch=true&timeoutSeconds=1"} {
			for _, path := range []string{all, everywhere} {
				watch := strings.Contains(query, "watch")
				// each watch takes its second; YAML has no stream
				if !watch || path == all && form != "application/yaml" {
					if got := ask(readerToken, path+query, form); got.Code != http.StatusOK &&
						!strings.Contains(form, "as=") {
						t.Errorf("reader: %s as %q: %d %s", path+query, form, got.Code, got.Body)
					}
				}
				if got := ask(getterToken, path+query, form); got.Code != http.StatusForbidden {
					t.Errorf("getter: %s as %q: %d %s", path+query, form, got.Code, got.Body)
				}
			}
		}
		ask(readerToken, all+"/a", form)
		if got := ask(getterToken, all+"/b", form); got.Code != http.StatusForbidden {
			t.Errorf("getter: another name as %q: %d", form, got.Code)
		}
	}
}

// TestIncident14NamespacesAreApart: leases and ids of one namespace worked in another (CVE-2026-40264, CVE-2026-45808).
// k6 may decrypt in default only. Deleting leaves nothing (CVE-2026-42186).
func TestIncident14NamespacesAreApart(t *testing.T) {
	s := start(t)
	canary := harness.Canary()
	s.Create(t, "default", "a", "value", "k6-cloud")
	s.Create(t, "other", "hidden", canary, "k6-cloud")
	uid := s.Do(t, harness.Request{Method: http.MethodGet, Path: harness.Collection("other") + "/hidden",
		Token: s.AdminToken}).
		Object(t)["metadata"].(map[string]any)["uid"].(string)
	for _, namespace := range []string{"other", "default", "", "*", "default/../other", "other/", "/other", "Other",
		"default,other"} {
		for _, name := range []string{"hidden", "../other/hidden", "other/hidden", uid,
			"../../other/securevalues/hidden", "hidden\x00", "*"} {
			body, err := json.Marshal(map[string]any{"namespace": namespace, "names": []string{name, "a"}})
			if err != nil {
				t.Fatal(err)
			}
			got := s.OnDecryptPort().Do(t, harness.Request{
				Method: http.MethodPost, Path: "/decryptv1beta1.SecureValueDecrypter/DecryptSecureValues",
				Token: k6Token, ContentType: jsonType, Body: string(body),
			})
			clean(t, namespace+" "+name, got, canary)
		}
	}
	if got := s.Do(t, harness.Request{Method: http.MethodDelete, Path: harness.Collection("other"),
		Token: s.AdminToken}); got.Code != http.StatusOK {
		t.Fatalf("deletecollection: %d %s", got.Code, got.Body)
	}
	s.Stop(t)
	s.Leaks(t, canary)
	kept := harness.OpenAll(t, s.DataDir)
	if len(kept) != 1 || kept["default/a"] != "value" {
		t.Errorf("kept after the deletion: %v", len(kept))
	}
}

// TestIncident17RightsAreAskedOfTheStoredObject: admission read the old object out of the request (CVE-2021-25735) or
// looked at some of the fields only (CVE-2023-2728, CVE-2024-3177). writer must not add a decrypter to a stored value,
// whatever it claims.
func TestIncident17RightsAreAskedOfTheStoredObject(t *testing.T) {
	s := start(t)
	s.Create(t, "default", "a", "value", "synthetic-monitoring")
	one := harness.Collection("default") + "/a"
	stored := func() map[string]any {
		return s.Get(t, one, s.AdminToken).Object(t)
	}
	before := stored()
	version := before["metadata"].(map[string]any)["resourceVersion"].(string)
	const added = `"decrypters":["synthetic-monitoring","k6-cloud"]`
	for name, request := range map[string]harness.Request{
		"PUT": {Method: http.MethodPut, Body: `{"metadata":{"name":"a","resourceVersion":"` +
			version + `"},"spec":{"description":"d",` + added + `}}`},
		"PUT that claims a status": {Method: http.MethodPut, Body: `{"metadata":{"name":"a","resourceVersion":"` +
			version + `","annotations":{"grafana.app/createdBy":"writer"}},"spec":{"description":"d",` + added +
			`},"status":{"version":9,"keeper":"system"}}`},
		"PUT of an empty value": {Method: http.MethodPut, Body: `{"metadata":{"name":"a","resourceVersion":"` +
			version + `"},"spec":{"description":"d","value":"",` + added + `}}`},
		"PUT of a null value": {Method: http.MethodPut, Body: `{"metadata":{"name":"a","resourceVersion":"` +
			version + `"},"spec":{"description":"d","value":null,` + added + `}}`},
		"PUT without a version": {Method: http.MethodPut,
			Body: `{"metadata":{"name":"a"},"spec":{"description":"d",` + added + `}}`},
		"PUT of the status": {Method: http.MethodPut, Path: "/status",
			Body: `{"metadata":{"name":"a","resourceVersion":"` + version + `"},"spec":{"description":"d",` + added +
				`}}`},
		"merge patch": {Method: http.MethodPatch, ContentType: mergeType, Body: `{"spec":{` + added +
			`}}`},
		"merge patch of the status": {Method: http.MethodPatch, Path: "/status", ContentType: mergeType,
			Body: `{"spec":{` + added + `}}`},
		"merge patch, decrypter 2 x": {Method: http.MethodPatch, ContentType: mergeType,
			Body: `{"spec":{"decrypters":["synthetic-monitoring"],` + added + `}}`},
		"JSON patch": {Method: http.MethodPatch, ContentType: patchType,
			Body: `[{"op":"add","path":"/spec/decrypters/-","value":"k6-cloud"}]`},
		"JSON patch by a copy": {Method: http.MethodPatch, ContentType: patchType,
			Body: `[{"op":"add","path":"/metadata/labels","value":{"x":"k6-cloud"}},{"op":"copy",` +
				`"from":"/metadata/labels/x","path":"/spec/decrypters/0"}]`},
		"JSON patch, value and back": {Method: http.MethodPatch, ContentType: patchType,
			Body: `[{"op":"add","path":"/spec/value","value":"x"},{"op":"add","path":"/spec/decrypters/-",` +
				`"value":"k6-cloud"},{"op":"remove","path":"/spec/value"}]`},
		"apply": {Method: http.MethodPatch, ContentType: applyType,
			Path: "?fieldManager=m&force=true",
			Body: `{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue","metadata":{"name":"a"},` +
				`"spec":{"description":"d",` + added + `}}`},
		"rewrap with a spec": {Method: http.MethodPost, Path: "/rewrap", Body: `{"spec":{` + added + `}}`},
		"create over it": {Method: http.MethodPost,
			Body: harness.Object(t, "a", "", "synthetic-monitoring", "k6-cloud")},
	} {
		request.Path, request.Token = one+request.Path, writerToken
		if got := s.Do(t, request); got.Code < 400 || got.Code >= 500 {
			t.Errorf("%s: %d %s", name, got.Code, got.Body)
		}
		if diff := cmp.Diff(before, stored()); diff != "" {
			t.Fatalf("%s changed the object:\n%s", name, diff)
		}
	}
	if _, code := open(t, s, "a"); code != http.StatusNotFound {
		t.Errorf("k6 gets %d", code)
	}
}

// TestIncident22ViewersSeeMetadataOnly: stored secrets of contact points were shown to viewers (CVE-2025-3415,
// CVE-2024-11741), and answers were kept in caches (CVE-2021-38554).
func TestIncident22ViewersSeeMetadataOnly(t *testing.T) {
	s := start(t)
	canary := harness.Canary()
	s.Create(t, "default", "a", canary, "k6-cloud")
	one := harness.Collection("default") + "/a"
	seen := s.Get(t, one, readerToken).Object(t)
	want := map[string]any{"description": "a test", "decrypters": []any{"k6-cloud"}}
	if diff := cmp.Diff(want, seen["spec"]); diff != "" {
		t.Errorf("a viewer's spec (-want +got):\n%s", diff)
	}
	for _, server := range []*harness.Server{s, s.OnDecryptPort()} {
		for _, path := range append([]string{one + "?watch=true&timeoutSeconds=1"}, everyPath...) {
			if strings.HasPrefix(path, "/\\") || strings.HasPrefix(path, "//") {
				continue // no address that this client can send
			}
			for _, token := range []string{"", readerToken, k6Token, s.AdminToken} {
				got := server.Get(t, path, token)
				if token != k6Token || path != harness.DecryptPath("default", "a") || server == s {
					clean(t, path, got, canary)
				}
				if got.Header.Get("Cache-Control") != "no-store" {
					t.Errorf("%s as %q may be cached (%d): %q", path, token, got.Code, got.Header.Get("Cache-Control"))
				}
			}
		}
	}
}
