// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os/exec"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestSetAgainstAnother has somebody else edit the object between the read and the write of `set`: both changes are
// there in the end. When that happens each time, the plugin says so.
func TestSetAgainstAnother(t *testing.T) {
	s := startServer(t)
	clients, err := versioned.NewForConfig(s.RESTConfig(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	client := clients.SecretV1beta1().SecureValues("default")
	if _, err := client.Create(t.Context(), &v1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Name: "api-key"},
		Spec:       v1beta1.SecureValueSpec{Description: "External API key", Value: sensitive.New("first"), Decrypters: []string{"k6-cloud"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var edits, most atomic.Int64
	edit := func() {
		if edits.Load() < most.Load() {
			edits.Add(1)
			if _, err := client.Patch(t.Context(), "api-key", types.MergePatchType,
				[]byte(`{"metadata":{"labels":{"team":"web"}},"spec":{"value":"another"}}`), metav1.PatchOptions{}); err != nil {
				t.Error(err)
			}
		}
	}
	address := proxy(t, s, edit)
	canary := harness.Canary()
	set := func() (string, error) {
		command := exec.CommandContext(t.Context(), "kubectl-securevalue", "set", "api-key", "--from-stdin",
			"--server="+address, "--token="+s.AdminToken, "--kubeconfig=/dev/null", "--insecure-skip-tls-verify")
		command.Stdin = bytes.NewBufferString(canary)
		output, err := command.CombinedOutput()
		if found := harness.Find(output, canary); len(found) > 0 {
			t.Errorf("the output holds %q", found)
		}
		return string(output), err
	}

	most.Store(1)
	if output, err := set(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	sv, err := client.Get(t.Context(), "api-key", metav1.GetOptions{})
	if err != nil || edits.Load() != 1 || sv.Labels["team"] != "web" || sv.Status.Version != 3 {
		t.Errorf("after one edit: %v, %d edits, labels %v, version %d", err, edits.Load(), sv.Labels, sv.Status.Version)
	}

	most.Store(1000)
	output, err := set()
	if err == nil || !bytes.Contains([]byte(output), []byte("somebody else changed it meanwhile, look at it and try again")) {
		t.Errorf("with an edit each time: %v\n%s", err, output)
	}
	s.Leaks(t, canary)
}

// TestSetAgainstAPlanter has a writer lengthen the list between the look at it and the write of `set`: the value is not
// written for a list that nobody looked at, whether set replaces the object or patches it.
func TestSetAgainstAPlanter(t *testing.T) {
	s := startServer(t)
	clients, err := versioned.NewForConfig(s.RESTConfig(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	client := clients.SecretV1beta1().SecureValues("default")
	canary, name := harness.Canary(), ""
	address := proxy(t, s, func() {
		if _, err := client.Patch(t.Context(), name, types.MergePatchType,
			[]byte(`{"spec":{"value":"junk","decrypters":["k6-cloud","synthetic-monitoring"]}}`), metav1.PatchOptions{}); err != nil {
			t.Error(err)
		}
	})
	for owner, token := range map[string]string{"owner": ownerToken, "writer": writerToken} {
		name = owner
		if _, err := client.Create(t.Context(), &v1beta1.SecureValue{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       v1beta1.SecureValueSpec{Description: "External API key", Value: sensitive.New("first"), Decrypters: []string{"k6-cloud"}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		own, err := versioned.NewForConfig(s.RESTConfig(t, token))
		if err != nil {
			t.Fatal(err)
		}
		// The owner knows the list.
		if _, err := own.SecretV1beta1().SecureValues("default").Patch(t.Context(), name, types.MergePatchType,
			[]byte(`{"spec":{"value":"second"}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		command := exec.CommandContext(t.Context(), "kubectl-securevalue", "set", name, "--from-stdin",
			"--server="+address, "--token="+token, "--kubeconfig=/dev/null", "--insecure-skip-tls-verify")
		command.Stdin = bytes.NewBufferString(canary)
		output, err := command.CombinedOutput()
		if err == nil || !bytes.Contains(output, []byte(`synthetic-monitoring (listed by "admin")`)) || !bytes.Contains(output, []byte("nothing was written")) {
			t.Errorf("as %s: %v\n%s", owner, err, output)
		}
		sv, err := client.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || sv.Status.Version != 3 {
			t.Errorf("as %s: %v, version %d, want that of the junk", owner, err, sv.Status.Version)
		}
	}
	s.Leaks(t, canary)
}

// proxy stands before the server and calls edit before each write of an object.
func proxy(t *testing.T, s *harness.Server, edit func()) string {
	t.Helper()
	target, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: s.HTTPClient().Transport,
	}
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut || r.Method == http.MethodPatch && !r.URL.Query().Has("dryRun") {
			edit()
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return front.URL
}
