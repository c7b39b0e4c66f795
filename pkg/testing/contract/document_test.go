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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// section is one section of the document: a request that succeeds, and the codes that it lists beside the good one.
type section struct {
	name, method, path, body string
	good                     int
	// notFound is the same request for a name that is absent, where the section lists 404.
	notFound string
	// bad are bodies that get 400, where the section lists it.
	bad []string
	// conflict says that repeating the request gets 409.
	conflict bool
}

func documentedSections() []section {
	const body = `{"metadata":{"name":"codes"},"spec":{"description":"d","value":"v-codes"}}`
	bad := []string{
		`{"metadata":`, `{"metadata":{"name":"codes"},"spec":{"value":"v-codes"}}`,
		`{"metadata":{"name":"codes"},"spec":{"description":"d"}}`,
	}
	one, absent := path("codes", "codes"), path("codes", "absent")
	return []section{
		{name: "Create a secure value", method: http.MethodPost, path: harness.Collection("codes"), body: body,
			good: http.StatusCreated, bad: bad, conflict: true},
		{name: "List secure values", method: http.MethodGet, path: harness.Collection("codes"), good: http.StatusOK},
		{name: "Get a secure value", method: http.MethodGet, path: one, good: http.StatusOK, notFound: absent},
		{name: "Update a secure value", method: http.MethodPut, path: one, body: body, good: http.StatusOK, bad: bad,
			notFound: absent},
		{name: "Delete a secure value", method: http.MethodDelete, path: one, good: http.StatusOK, notFound: absent},
	}
}

// documentedCodes provokes every status code that a section of the document lists.
func (a *api) documentedCodes(t *testing.T) {
	for _, s := range documentedSections() {
		t.Run(s.name, func(t *testing.T) {
			s.unauthorized(t, a)
			request := harness.Request{Method: s.method, Path: s.path, ContentType: jsonType, Body: s.body,
				Token: nobodyToken}
			s.wantStatus(t, a, request, http.StatusForbidden, metav1.StatusReasonForbidden)
			request.Token = editorToken
			for _, body := range s.bad {
				bad := request
				bad.Body = body
				s.wantStatus(t, a, bad, http.StatusBadRequest, "")
			}
			if s.notFound != "" {
				absent := request
				absent.Path = s.notFound
				if s.method == http.MethodPut {
					absent.Body = `{"metadata":{"name":"absent"},"spec":{"description":"d","value":"v-codes"}}`
				}
				s.wantStatus(t, a, absent, http.StatusNotFound, metav1.StatusReasonNotFound)
			}
			if got := a.send(t, request); got.Code != s.good {
				t.Fatalf("want %d, got %d: %s", s.good, got.Code, got.Body)
			}
			if s.conflict {
				s.wantStatus(t, a, request, http.StatusConflict, metav1.StatusReasonAlreadyExists)
			}
		})
	}
	t.Run("a reader may not write", a.readerMayNotWrite)
}

// unauthorized sends the request of nobody that the server knows.
func (s section) unauthorized(t *testing.T, a *api) {
	t.Helper()
	for name, header := range map[string]string{
		"no token": "", "bad token": "Bearer nonsense", "empty token": "Bearer ",
		"basic auth":             "Basic YWRtaW46YWRtaW4=",
		"token without a scheme": editorToken,
	} {
		request := harness.Request{Method: s.method, Path: s.path, ContentType: jsonType, Body: s.body,
			Header: http.Header{}}
		if header != "" {
			request.Header.Set("Authorization", header)
		}
		got := a.send(t, request)
		if got.Code != http.StatusUnauthorized {
			t.Errorf("%s: want 401, got %d: %s", name, got.Code, got.Body)
			continue
		}
		if status := got.Status(t); status.Reason != metav1.StatusReasonUnauthorized {
			t.Errorf("%s: want the reason Unauthorized, got %q", name, status.Reason)
		}
	}
}

func (section) wantStatus(t *testing.T, a *api, r harness.Request, code int, reason metav1.StatusReason) {
	t.Helper()
	got := a.send(t, r)
	if got.Code != code {
		t.Errorf("%s %s %s: want %d, got %d: %s", r.Method, r.Path, r.Body, code, got.Code, got.Body)
		return
	}
	status := got.Status(t)
	if int(status.Code) != code || status.Status != metav1.StatusFailure || status.Message == "" {
		t.Errorf("%s %s: want a Failure with code %d and a message, got %+v", r.Method, r.Path, code, status)
	}
	if reason != "" && status.Reason != reason {
		t.Errorf("%s %s: want the reason %s, got %s", r.Method, r.Path, reason, status.Reason)
	}
}

func (a *api) readerMayNotWrite(t *testing.T) {
	one := path("codes-reader", "one")
	a.create(t, "codes-reader", "one", nil)
	body := `{"metadata":{"name":"one"},"spec":{"description":"d","value":"v-codes"}}`
	for _, c := range []struct {
		method, path string
		code         int
	}{
		{http.MethodGet, harness.Collection("codes-reader"), http.StatusOK},
		{http.MethodGet, one, http.StatusOK},
		{http.MethodPost, harness.Collection("codes-reader"), http.StatusForbidden},
		{http.MethodPut, one, http.StatusForbidden},
		{http.MethodDelete, one, http.StatusForbidden},
		{http.MethodDelete, harness.Collection("codes-reader"), http.StatusForbidden},
	} {
		got := a.send(t, harness.Request{Method: c.method, Path: c.path, ContentType: jsonType, Body: body,
			Token: readerToken})
		if got.Code != c.code {
			t.Errorf("%s %s as reader: want %d, got %d: %s", c.method, c.path, c.code, got.Code, got.Body)
		}
	}
	// The right to read says nothing about a name that the caller may not write: 403 comes before 404 and before 400.
	got := a.send(t, harness.Request{Method: http.MethodPut, Path: path("codes-reader", "absent"),
		ContentType: jsonType, Body: "{", Token: readerToken})
	if got.Code != http.StatusForbidden {
		t.Errorf("PUT of an absent name as reader: want 403, got %d", got.Code)
	}
}
