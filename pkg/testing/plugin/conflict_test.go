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

	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestSetWithConcurrentEdits edits the object between the read and the write of `set`: both changes persist. If that
// happens every time, the plugin reports it.
func TestSetWithConcurrentEdits(t *testing.T) {
	s := startServer(t)
	client := s.Values(t, "", "default")
	s.Create(t, "default", "api-key", "first", "k6-cloud")
	var edits, most atomic.Int64
	edit := func() {
		if edits.Load() < most.Load() {
			edits.Add(1)
			patch(t, client, "api-key", `{"metadata":{"labels":{"team":"web"}},"spec":{"value":"another"}}`)
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
	if err == nil || !bytes.Contains([]byte(output), []byte("it was changed concurrently, review it and try again")) {
		t.Errorf("with an edit each time: %v\n%s", err, output)
	}
	s.Leaks(t, canary)
}

// TestSetWithConcurrentDecrypters adds a decrypter between the check of the list and the write of `set`: the value is
// not written for an unchecked list, whether set replaces the object or patches it.
func TestSetWithConcurrentDecrypters(t *testing.T) {
	s := startServer(t)
	client := s.Values(t, "", "default")
	canary, name := harness.Canary(), ""
	address := proxy(t, s, func() {
		patch(t, client, name, `{"spec":{"value":"junk","decrypters":["k6-cloud","synthetic-monitoring"]}}`)
	})
	for owner, token := range map[string]string{"owner": ownerToken, "writer": writerToken} {
		name = owner
		s.Create(t, "default", name, "first", "k6-cloud")
		patch(t, s.Values(t, token, "default"), name, `{"spec":{"value":"second"}}`) // the owner knows the list
		command := exec.CommandContext(t.Context(), "kubectl-securevalue", "set", name, "--from-stdin",
			"--server="+address, "--token="+token, "--kubeconfig=/dev/null", "--insecure-skip-tls-verify")
		command.Stdin = bytes.NewBufferString(canary)
		output, err := command.CombinedOutput()
		if err == nil || !bytes.Contains(output, []byte(`synthetic-monitoring (listed by "admin")`)) ||
			!bytes.Contains(output, []byte("nothing was written")) {
			t.Errorf("as %s: %v\n%s", owner, err, output)
		}
		sv, err := client.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || sv.Status.Version != 3 {
			t.Errorf("as %s: %v, version %d, want that of the junk", owner, err, sv.Status.Version)
		}
	}
	s.Leaks(t, canary)
}

// patch reports errors without ending the test, so that the proxy may call it.
func patch(t *testing.T, client typedv1beta1.SecureValueInterface, name, body string) {
	t.Helper()
	_, err := client.Patch(t.Context(), name, types.MergePatchType, []byte(body), metav1.PatchOptions{})
	if err != nil {
		t.Error(err)
	}
}

// proxy forwards to the server and calls edit before each write of an object.
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
