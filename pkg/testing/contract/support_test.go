// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// Tokens of the users of these tests. The first one is the document's own.
const (
	editorToken   = "eyJrIjoiT0tTcG1pUlY2RnVKZTFVaDFsNFZXdE9ZWmNrMkZYbk"
	extenderToken = "token-of-extender"
	readerToken   = "token-of-reader"
	nobodyToken   = "token-of-nobody"
	planterToken  = "token-of-planter"
)

const (
	jsonType  = "application/json"
	yamlType  = "application/yaml"
	mergeType = "application/merge-patch+json"
	patchType = "application/json-patch+json"
	stratType = "application/strategic-merge-patch+json"
	applyType = "application/apply-patch+yaml"
	protoType = "application/vnd.kubernetes.protobuf"
)

// api is a running server and the canaries that went into it.
type api struct {
	*harness.Server
	canaries []string
	// parts are eight characters in a row of a canary, runs fourteen digits: eight are found in an id by chance.
	parts, runs *harness.Fragments
}

// startAPI runs a server with five users: editor may all that the four plain roles allow, extender has the admin and
// extender roles, planter only writes, reader only reads, and nobody may nothing.
func startAPI(t *testing.T, args ...string) *api {
	t.Helper()
	options := harness.Options{Tokens: []string{harness.Token(editorToken, "editor"), harness.Token(nobodyToken, "nobody")}, Args: args}
	for _, grant := range [][2]string{
		{"editor", "creator"}, {"editor", "deleter"}, {"editor", "reader"}, {"editor", "writer"},
		{"extender", "admin"}, {"extender", "extender"}, {"reader", "reader"}, {"planter", "writer"},
	} {
		options = options.With(grant[0], grant[1], "")
	}
	return &api{Server: harness.Start(t, options), parts: harness.NewFragments(8), runs: harness.NewFragments(14)}
}

// canary returns a random value that must be found nowhere when the test ends.
func (a *api) canary() string {
	value := strings.TrimPrefix(harness.Canary(), "canary-")
	a.canaries = append(a.canaries, value)
	a.parts.Add(value)
	return value
}

// number is canary for a value that is written without quotes.
func (a *api) number() string {
	value := strconv.FormatInt(100_000_000_000_000_000+rand.Int64N(899_999_999_999_999_999), 10)
	a.runs.Add(value)
	return value
}

// do sends a request as editor, and fails the test when the answer holds as much as a fragment of a canary.
func (a *api) do(t *testing.T, method, path, contentType, body string) harness.Response {
	t.Helper()
	return a.send(t, harness.Request{Method: method, Path: path, Token: editorToken, ContentType: contentType,
		Body: body})
}

// send is do for a request of any user.
func (a *api) send(t *testing.T, r harness.Request) harness.Response {
	t.Helper()
	response := a.Do(t, r)
	a.quiet(t, response)
	return response
}

// quiet fails the test when body or headers hold eight characters in a row of any canary.
func (a *api) quiet(t *testing.T, response harness.Response) {
	t.Helper()
	var all bytes.Buffer
	_ = response.Header.Write(&all)
	all.Write(response.Body)
	if found := append(a.parts.Find(all.Bytes()), a.runs.Find(all.Bytes())...); len(found) > 0 {
		t.Errorf("the answer holds parts of what was sent, %q:\n%s", found, all.Bytes())
	}
}

// want sends a request as do does and fails the test unless the code is the expected one.
func (a *api) want(t *testing.T, code int, method, path, contentType, body string) harness.Response {
	t.Helper()
	response := a.do(t, method, path, contentType, body).Want(t, code)
	return response
}

// noTrace stops the server and searches everything that it wrote.
func (a *api) noTrace(t *testing.T) {
	t.Helper()
	a.Stop(t)
	audit := harness.ReadFile(t, a.AuditFile)
	if !bytes.Contains(audit, []byte(`"level":"RequestResponse"`)) {
		t.Error("the audit log has no event of level RequestResponse")
	}
	for name, data := range map[string][]byte{"log": []byte(a.Log(t)), "audit log": audit} {
		if found := append(a.parts.Find(data), a.runs.Find(data)...); len(found) > 0 {
			t.Errorf("the %s holds parts of %d values: %q", name, len(found), found)
		}
	}
	a.Leaks(t, a.canaries...)
}

// path is the URL of one object.
func path(namespace, name string) string { return harness.Collection(namespace) + "/" + name }

// manifest is a SecureValue as a client writes it: fields says what differs from a good one, by path; nil leaves one
// out.
func manifest(name, value string, fields map[string]any) map[string]any {
	object := map[string]any{
		"apiVersion": "secret.grafana.app/v1beta1",
		"kind":       "SecureValue",
		"metadata":   map[string]any{"name": name},
		"spec":       map[string]any{"description": "d", "value": value, "decrypters": []any{"k6-cloud"}},
	}
	for at, content := range fields {
		set(object, strings.Split(at, "."), content)
	}
	return object
}

func set(object map[string]any, at []string, content any) {
	for ; len(at) > 1; at = at[1:] {
		next, ok := object[at[0]].(map[string]any)
		if !ok {
			next = map[string]any{}
			object[at[0]] = next
		}
		object = next
	}
	if content == nil {
		delete(object, at[0])
		return
	}
	object[at[0]] = content
}

func text(t *testing.T, object any) string {
	t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// create stores a value and returns the answer as an object.
func (a *api) create(t *testing.T, namespace, name string, fields map[string]any) map[string]any {
	t.Helper()
	body := text(t, manifest(name, a.canary(), fields))
	return a.want(t, http.StatusCreated, http.MethodPost, harness.Collection(namespace), jsonType, body).Object(t)
}

// get reads an object.
func (a *api) get(t *testing.T, namespace, name string) map[string]any {
	t.Helper()
	return a.want(t, http.StatusOK, http.MethodGet, path(namespace, name), "", "").Object(t)
}

// at reads a field by its path; nil if there is none.
func at(object map[string]any, names ...string) any {
	for ; len(names) > 1; names = names[1:] {
		object, _ = object[names[0]].(map[string]any)
	}
	return object[names[0]]
}

// causes are the field paths of a Status, sorted, each once.
func causes(status metav1.Status) []string {
	fields := map[string]bool{}
	if status.Details != nil {
		for _, cause := range status.Details.Causes {
			fields[cause.Field] = true
		}
	}
	return slices.Sorted(maps.Keys(fields))
}
