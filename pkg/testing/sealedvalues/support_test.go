// SPDX-License-Identifier: Apache-2.0

package sealedvalues

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	"github.com/securevalue/secret-apiserver/pkg/sealing"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

const (
	namespace = "shop"
	keysPath  = "/apis/secret.grafana.app/v1beta1/sealingkeys"
	mergeType = "application/merge-patch+json"
	applyType = "application/apply-patch+yaml"
)

// api is a running server with the values that went into it.
type api struct {
	*harness.Server
	canaries []string
}

// start runs a server with user k6, who decrypts, and user nobody without any right.
func start(t *testing.T, args ...string) *api {
	t.Helper()
	return run(t, harness.Options{Args: args})
}

// restart runs a server on a data folder, with the values that went into another one.
func restart(t *testing.T, before *api, dataDir string) *api {
	t.Helper()
	a := run(t, harness.Options{DataDir: dataDir})
	a.canaries = before.canaries
	return a
}

func run(t *testing.T, options harness.Options) *api {
	t.Helper()
	options.Tokens = []string{harness.Token("token-of-nobody", "nobody")}
	return &api{Server: harness.Start(t, options.WithK6(namespace))}
}

// canary is a value that no answer, log or file may hold: see noTrace.
func (a *api) canary() string {
	value := harness.Canary()
	a.canaries = append(a.canaries, value)
	return value
}

func (a *api) noTrace(t *testing.T) {
	t.Helper()
	a.Stop(t)
	a.Leaks(t, a.canaries...)
}

// keys are the sealing keys, the active one first.
func (a *api) keys(t *testing.T) []v1beta1.SealingKey {
	t.Helper()
	client := versioned.NewForConfigOrDie(a.RESTConfig(t, "token-of-nobody"))
	list, err := client.SecretV1beta1().SealingKeys().List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) == 0 || !list.Items[0].Status.Active {
		t.Fatalf("the first of %d sealing keys is not active", len(list.Items))
	}
	return list.Items
}

// binding is that of an object of these tests.
func binding(name string) sealing.Binding {
	return sealing.Binding{Namespace: namespace, Name: name, Decrypters: []string{"k6-cloud"}}
}

// seal seals a value to the active key.
func (a *api) seal(t *testing.T, value string, b sealing.Binding) string {
	t.Helper()
	return sealTo(t, a.keys(t)[0].Spec.PublicKey, value, b)
}

func sealTo(t *testing.T, publicKey []byte, value string, b sealing.Binding) string {
	t.Helper()
	key, err := sealing.ParsePublicKey(publicKey)
	if err != nil {
		t.Fatal(err)
	}
	text, err := key.Seal([]byte(value), b)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// manifest is a SecureValue with a text; edit changes it.
func manifest(t *testing.T, name, text string, edit ...func(map[string]any)) string {
	t.Helper()
	object := map[string]any{
		"apiVersion": "secret.grafana.app/v1beta1", "kind": "SecureValue",
		"metadata": map[string]any{"name": name},
		"spec":     map[string]any{"description": "d", "sealedValue": text, "decrypters": []string{"k6-cloud"}},
	}
	for _, change := range edit {
		change(object)
	}
	out, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// with sets a field of the spec; nil removes it.
func with(field string, content any) func(map[string]any) {
	return func(object map[string]any) {
		spec := object["spec"].(map[string]any)
		if spec[field] = content; content == nil {
			delete(spec, field)
		}
	}
}

// send sends a request as the administrator about an object, or the collection for name "", and fails if the answer
// holds a value.
func (a *api) send(t *testing.T, method, name, contentType, body string) harness.Response {
	t.Helper()
	path := harness.Collection(namespace)
	if name != "" {
		path += "/" + name
	}
	got := a.Do(t, harness.Request{Method: method, Path: path, Token: a.AdminToken, ContentType: contentType, Body: body})
	if found := harness.Find(got.Body, a.canaries...); len(found) > 0 {
		t.Errorf("%s %s: the answer holds a value: %s", method, path, found)
	}
	return got
}

func (a *api) create(t *testing.T, body string) harness.Response {
	t.Helper()
	return a.send(t, http.MethodPost, "", "application/json", body)
}

func (a *api) patch(t *testing.T, name, body string) harness.Response {
	t.Helper()
	return a.send(t, http.MethodPatch, name, mergeType, body)
}

func (a *api) apply(t *testing.T, name, body string) harness.Response {
	t.Helper()
	query, _, _ := strings.Cut(name, "?")
	if query == name {
		name += "?"
	}
	return a.send(t, http.MethodPatch, name+"&fieldManager=flux&force=true", applyType, body)
}

// state is what tests compare of an object.
type state struct {
	Version         int64
	Generation      int64
	ResourceVersion string
	SealedValue     string
}

func stateOf(t *testing.T, response harness.Response) state {
	t.Helper()
	var sv v1beta1.SecureValue
	if err := json.Unmarshal(response.Body, &sv); err != nil {
		t.Fatal(err)
	}
	if sv.Spec.Value != nil || sv.Annotations["secret.grafana.app/sealedFrom"] != "" {
		t.Errorf("%s shows its value or its origin", sv.Name)
	}
	return state{sv.Status.Version, sv.Generation, sv.ResourceVersion, sv.Spec.SealedValue}
}

func (a *api) state(t *testing.T, name string) state {
	t.Helper()
	return stateOf(t, a.send(t, http.MethodGet, name, "", "").Want(t, http.StatusOK))
}

// wantValue opens a value on the decrypt port.
func (a *api) wantValue(t *testing.T, name, want string) {
	t.Helper()
	if got := a.Decrypt(t, harness.K6Token, namespace, name).Want(t, http.StatusOK); string(got.Body) != want {
		t.Errorf("%s opens to another value than the last one sealed", name)
	}
}

// tool runs a tool on the data folder of the running server, and returns all that it printed.
func (a *api) tool(t *testing.T, code int, args ...string) string {
	t.Helper()
	out, errs, got := harness.Tool(t, append(args, "--data-dir", a.DataDir)...)
	if got != code {
		t.Fatalf("%v: exit code %d, want %d:\n%s%s", args, got, code, out, errs)
	}
	return out + errs
}

var yesterday = time.Now().Add(-24 * time.Hour).Truncate(time.Second)
