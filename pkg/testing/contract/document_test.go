// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"encoding/json"
	"mime"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestDocument replays secrets-management-http-api.md. testdata/document holds the request and the response of each of
// its sections, copied byte for byte: create ("Create a secure value"), list ("List secure values"), get ("Get a secure
// value"), update ("Update a secure value"), delete ("Delete a secure value").
func TestDocument(t *testing.T) {
	a := startAPI(t)
	t.Run("examples", func(t *testing.T) {
		// The list of the document shows one object, so it comes before the others.
		a.want(t, http.StatusCreated, http.MethodPost, harness.Collection("default"), jsonType, text(t, map[string]any{
			"metadata": map[string]any{"name": "database-password"},
			"spec": map[string]any{
				"description": "Production DB Password", "value": a.canary(),
				"decrypters": []string{"synthetic-monitoring"},
			},
		}))
		for _, section := range []string{"list", "create", "get", "update", "delete"} {
			t.Run(section, func(t *testing.T) { replay(t, a, section) })
		}
	})
	t.Run("codes", a.documentedCodes)
	a.noTrace(t)
	a.Leaks(t, documentValues...)
}

// documentValues are the values that the examples write.
var documentValues = []string{"secret-api-key-12345", "new-value-12345"}

// replay sends the request of a section and compares the answer with the section's response, field for field.
func replay(t *testing.T, a *api, section string) {
	t.Helper()
	line, header, body := message(t, section+".request.http")
	method, rest, _ := strings.Cut(line, " ")
	target, _, _ := strings.Cut(rest, " ")
	got := a.Do(t, harness.Request{Method: method, Path: target, Header: header, Body: body})

	line, header, body = message(t, section+".response.http")
	if code := strings.Fields(line)[1]; strconv.Itoa(got.Code) != code {
		t.Fatalf("%s %s: the document says %s, got %d: %s", method, target, code, got.Code, got.Body)
	}
	sameMediaType(t, header.Get("Content-Type"), got.Header.Get("Content-Type"))
	var want map[string]any
	if err := json.Unmarshal([]byte(body), &want); err != nil {
		t.Fatal(err)
	}
	object := got.Object(t)
	sameShape(t, want, object)
	if diff := cmp.Diff(essence(want), essence(object)); diff != "" {
		t.Errorf("%s differs from the document (-document +server):\n%s", section, diff)
	}
	if found := harness.Find(got.Body, documentValues...); len(found) > 0 {
		t.Errorf("the answer holds the value: %s", found)
	}
}

// message reads a copied HTTP message: its first line, its header and its body.
func message(t *testing.T, name string) (first string, header http.Header, body string) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "document", name))
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(data), "\n\n")
	first, lines, _ := strings.Cut(strings.TrimSpace(head), "\n")
	header = http.Header{}
	for line := range strings.SplitSeq(lines, "\n") {
		field, value, _ := strings.Cut(line, ": ")
		header.Set(field, value)
	}
	return first, header, body
}

// sameMediaType leaves out the charset: RFC 8259 knows one only, and the library does not write it.
func sameMediaType(t *testing.T, want, got string) {
	t.Helper()
	wantType, _, err := mime.ParseMediaType(want)
	if err != nil {
		t.Fatal(err)
	}
	gotType, params, err := mime.ParseMediaType(got)
	if err != nil || gotType != wantType {
		t.Errorf("Content-Type: the document says %q, got %q", want, got)
	}
	if charset, ok := params["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		t.Errorf("Content-Type: the document says %q, got %q", want, got)
	}
}

// sameShape checks that what may differ is there all the same where the document shows it.
func sameShape(t *testing.T, want, got map[string]any) {
	t.Helper()
	for _, field := range []string{"uid", "creationTimestamp", "resourceVersion"} {
		if at(want, "metadata", field) != nil {
			if value, _ := at(got, "metadata", field).(string); value == "" {
				t.Errorf("metadata.%s: the document shows one, the server sent none", field)
			}
		}
	}
	if _, ok := want["status"].(map[string]any); ok {
		if _, ok := got["status"].(map[string]any); !ok {
			t.Errorf("status: the document shows an object, the server sent %v", got["status"])
		}
	}
	wantItems, _ := want["items"].([]any)
	gotItems, _ := got["items"].([]any)
	for i := range min(len(wantItems), len(gotItems)) {
		sameShape(t, wantItems[i].(map[string]any), gotItems[i].(map[string]any))
	}
}

// essence drops what the issue allows to differ: uid, times, resourceVersion, generation, managedFields, annotations
// set by the server, further status fields, and metadata and details of a Status.
func essence(object map[string]any) map[string]any {
	if object["kind"] == "Status" {
		delete(object, "metadata")
		delete(object, "details")
		return object
	}
	if _, ok := object["status"].(map[string]any); ok {
		delete(object, "status")
	}
	if metadata, ok := object["metadata"].(map[string]any); ok {
		for _, field := range []string{"uid", "creationTimestamp", "resourceVersion", "generation", "managedFields"} {
			delete(metadata, field)
		}
		dropServerAnnotations(metadata)
	}
	items, _ := object["items"].([]any)
	for _, item := range items {
		essence(item.(map[string]any))
	}
	return object
}

func dropServerAnnotations(metadata map[string]any) {
	annotations, ok := metadata["annotations"].(map[string]any)
	if !ok {
		return
	}
	for _, name := range []string{"createdBy", "updatedBy", "updatedTimestamp"} {
		delete(annotations, "grafana.app/"+name)
	}
	if len(annotations) == 0 {
		delete(metadata, "annotations")
	}
}
