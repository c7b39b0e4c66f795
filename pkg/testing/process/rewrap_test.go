// SPDX-License-Identifier: Apache-2.0

package process

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// The subresource re-encrypts a stale value and changes nothing else; a current one is not written.
func TestRewrapThroughTheTypedClient(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{Args: []string{"--rewrap=false"}}) // nobody else rewraps
	canary := harness.Canary()
	s.Create(t, "keys", "one", canary)
	client := versioned.NewForConfigOrDie(s.RESTConfig(t, "")).SecretV1beta1().SecureValues("keys")
	before, err := client.Get(t.Context(), "one", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Rotate(t, "fresh")
	rewrap := func(options metav1.CreateOptions) *v1beta1.SecureValueRewrap {
		t.Helper()
		out, err := client.CreateRewrap(t.Context(), "one", &v1beta1.SecureValueRewrap{}, options)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	want := v1beta1.SecureValueRewrapStatus{Key: before.Status.Key, WriteKey: "aesgcm/fresh"}
	dryRun := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	harness.Eventually(t, "the server announces the new key", func() bool {
		servers := rewrap(dryRun).Status.Servers
		return len(servers) == 1 && servers[0].Name == "standalone" && servers[0].Version != "" && servers[0].WriteKey == "aesgcm/fresh"
	})
	got := rewrap(dryRun).Status
	got.Servers = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dry run: %s", diff)
	}
	want = v1beta1.SecureValueRewrapStatus{Key: "aesgcm/fresh", WriteKey: "aesgcm/fresh", Rewrapped: true}
	if got := rewrap(metav1.CreateOptions{}); !cmp.Equal(got.Status, want) || got.Name != "one" || got.Namespace != "keys" {
		t.Errorf("got %+v, want %+v", got, want)
	}
	after, err := client.Get(t.Context(), "one", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if after.ResourceVersion == before.ResourceVersion || after.Status.Key != "aesgcm/fresh" {
		t.Errorf("resourceVersion %s, key %s after the rewrap", after.ResourceVersion, after.Status.Key)
	}
	version := after.ResourceVersion
	after.ResourceVersion, after.Status.Key = before.ResourceVersion, before.Status.Key
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("more than the key changed: %s", diff)
	}
	want.Rewrapped = false
	if got := rewrap(metav1.CreateOptions{}).Status; !cmp.Equal(got, want) {
		t.Errorf("again: got %+v, want %+v", got, want)
	}
	if again, err := client.Get(t.Context(), "one", metav1.GetOptions{}); err != nil || again.ResourceVersion != version {
		t.Errorf("a fresh value was written: %v, %v", again, err)
	}
	if _, err := client.CreateRewrap(t.Context(), "absent", &v1beta1.SecureValueRewrap{}, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("absent: %v", err)
	}
	stale := &v1beta1.SecureValueRewrap{ObjectMeta: metav1.ObjectMeta{ResourceVersion: before.ResourceVersion}}
	if _, err := client.CreateRewrap(t.Context(), "one", stale, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("stale resourceVersion: %v", err)
	}
	s.Leaks(t, canary)
	s.Stop(t)
	if values := harness.OpenAll(t, s.DataDir); values["keys/one"] != canary {
		t.Error("the value does not open to what was written")
	}
}

// Permission to rewrap includes no other, permission to write values does not include rewrap, and a body cannot smuggle
// in a value.
func TestIncident16RewrapIsItsOwnRightAndCarriesNoValue(t *testing.T) {
	t.Parallel()
	s := harness.Start(t, harness.Options{
		Tokens: []string{harness.Token("tok-rewrapper", "rewrapper"), harness.Token("tok-writer", "writer")},
		RBAC: []string{
			harness.ClusterRole("rewrapper", harness.Rule("create", "securevalues/rewrap")), harness.Grant("rewrapper", "rewrapper", ""),
			harness.Grant("writer", "secret.grafana.app:securevalues-writer", ""),
		},
		RBACFiles: []string{"config/rbac/clusterrole-writer.yaml"},
	})
	canary, smuggled := harness.Canary(), harness.Canary()
	s.Create(t, "keys", "one", canary)
	path := harness.Collection("keys") + "/one"
	stored := s.Get(t, path, s.AdminToken).Object(t)
	uid := stored["metadata"].(map[string]any)["uid"].(string)
	for name, test := range map[string]struct {
		request harness.Request
		code    int
	}{
		"no body":             {harness.Request{Method: http.MethodPost, Path: path + "/rewrap", Token: "tok-rewrapper"}, http.StatusCreated},
		"empty object":        {harness.Request{Method: http.MethodPost, Path: path + "/rewrap", Token: "tok-rewrapper", Body: "{}"}, http.StatusCreated},
		"read":                {harness.Request{Method: http.MethodGet, Path: path, Token: "tok-rewrapper"}, http.StatusForbidden},
		"read the rewrap":     {harness.Request{Method: http.MethodGet, Path: path + "/rewrap", Token: "tok-rewrapper"}, http.StatusForbidden},
		"writer":              {harness.Request{Method: http.MethodPost, Path: path + "/rewrap", Token: "tok-writer"}, http.StatusForbidden},
		"nobody":              {harness.Request{Method: http.MethodPost, Path: path + "/rewrap"}, http.StatusUnauthorized},
		"a value":             {harness.Request{Method: http.MethodPost, Path: path + "/rewrap", Token: "tok-rewrapper", Body: `{"spec":{"value":"` + smuggled + `"}}`}, http.StatusCreated},
		"a value, strict":     {harness.Request{Method: http.MethodPost, Path: path + "/rewrap?fieldValidation=Strict", Token: "tok-rewrapper", Body: `{"spec":{"value":"` + smuggled + `"}}`}, http.StatusBadRequest},
		"a whole SecureValue": {harness.Request{Method: http.MethodPost, Path: path + "/rewrap", Token: "tok-rewrapper", Body: harness.Object(t, "one", smuggled)}, http.StatusCreated},
		"another kind":        {harness.Request{Method: http.MethodPost, Path: path + "/rewrap", Token: "tok-rewrapper", Body: `{"apiVersion":"secret.grafana.app/v1beta1","kind":"SecureValue","spec":{"value":"` + smuggled + `"}}`}, http.StatusBadRequest},
		"another name":        {harness.Request{Method: http.MethodPost, Path: path + "/rewrap", Token: "tok-rewrapper", Body: `{"metadata":{"name":"two"}}`}, http.StatusBadRequest},
		"another namespace":   {harness.Request{Method: http.MethodPost, Path: path + "/rewrap", Token: "tok-rewrapper", Body: `{"metadata":{"namespace":"two"}}`}, http.StatusBadRequest},
		"another uid":         {harness.Request{Method: http.MethodPost, Path: path + "/rewrap", Token: "tok-rewrapper", Body: `{"metadata":{"uid":"other"}}`}, http.StatusConflict},
		"its uid":             {harness.Request{Method: http.MethodPost, Path: path + "/rewrap", Token: "tok-rewrapper", Body: `{"metadata":{"uid":"` + uid + `"}}`}, http.StatusCreated},
		"another version":     {harness.Request{Method: http.MethodPost, Path: path + "/rewrap", Token: "tok-rewrapper", Body: `{"metadata":{"resourceVersion":"1"}}`}, http.StatusConflict},
		"broken":              {harness.Request{Method: http.MethodPost, Path: path + "/rewrap", Token: "tok-rewrapper", Body: `{"spec":{"value":"` + smuggled}, http.StatusBadRequest},
		"PUT":                 {harness.Request{Method: http.MethodPut, Path: path + "/rewrap", Token: s.AdminToken, Body: "{}"}, http.StatusMethodNotAllowed},
		"DELETE":              {harness.Request{Method: http.MethodDelete, Path: path + "/rewrap", Token: s.AdminToken}, http.StatusMethodNotAllowed},
	} {
		if got := s.Do(t, test.request); got.Code != test.code {
			t.Errorf("%s: got %d %s, want %d", name, got.Code, got.Body, test.code)
		}
	}
	s.Leaks(t, canary, smuggled)
	s.Stop(t)
	if values := harness.OpenAll(t, s.DataDir); values["keys/one"] != canary {
		t.Error("a rewrap changed the value")
	}
}
