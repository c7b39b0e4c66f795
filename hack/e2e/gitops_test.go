// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

var securevalues = schema.GroupVersionResource{Group: "secret.grafana.app", Version: "v1beta1", Resource: "securevalues"}

// gitOps compares and applies as controllers do that know no type: a server-side-apply dry run against what is live.
type gitOps struct {
	t      *testing.T
	client dynamic.ResourceInterface
}

// reconcile applies when the dry run differs from what is live, and says whether it did.
func (g gitOps) reconcile(text string) (changed bool) {
	g.t.Helper()
	var desired unstructured.Unstructured
	if err := yaml.Unmarshal([]byte(text), &desired.Object); err != nil {
		g.t.Fatal(err)
	}
	options := metav1.ApplyOptions{FieldManager: "gitops", Force: true, DryRun: []string{metav1.DryRunAll}}
	planned, err := g.client.Apply(g.t.Context(), desired.GetName(), &desired, options)
	if err != nil {
		g.t.Fatal(err)
	}
	live, err := g.client.Get(g.t.Context(), desired.GetName(), metav1.GetOptions{})
	if err == nil && cmp.Equal(withoutStatus(live), withoutStatus(planned)) {
		return false
	}
	options.DryRun = nil
	if _, err := g.client.Apply(g.t.Context(), desired.GetName(), &desired, options); err != nil {
		g.t.Fatal(err)
	}
	return true
}

// withoutStatus is what such controllers compare: metadata that a person writes, and everything else but the status.
func withoutStatus(object *unstructured.Unstructured) map[string]any {
	object = object.DeepCopy()
	metadata := map[string]any{"labels": object.GetLabels(), "annotations": object.GetAnnotations(), "owners": object.GetOwnerReferences()}
	delete(object.Object, "status")
	object.Object["metadata"] = metadata
	return object.Object
}

// TestGitOps shows that a controller stays quiet without a change, and rolls out a value that was announced.
func TestGitOps(t *testing.T) {
	client, err := dynamic.NewForConfig(cluster.AdminConfig())
	if err != nil {
		t.Fatal(err)
	}
	namespace := newNamespace(t)
	g := gitOps{t, client.Resource(securevalues).Namespace(namespace)}
	text := func(revision, value string) string {
		return fmt.Sprintf(`apiVersion: secret.grafana.app/v1beta1
kind: SecureValue
metadata: {name: x, annotations: {secret.grafana.app/value-revision: %q}}
spec: {description: by gitops, value: %s, decrypters: [k6-cloud]}
`, revision, value)
	}
	value := harness.Canary()
	for _, step := range []struct {
		name, text string
		changed    bool
		version    int64
	}{
		{"a new manifest", text("1", value), true, 1},
		{"no change", text("1", value), false, 1},
		{"a value that is not announced", text("1", harness.Canary()), false, 1},
		{"a value that is announced", text("2", harness.Canary()), true, 2},
		{"no change after it", text("2", value), false, 2},
	} {
		if changed := g.reconcile(step.text); changed != step.changed {
			t.Errorf("%s: changed %v, want %v", step.name, changed, step.changed)
		}
		live, err := g.client.Get(t.Context(), "x", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if version, _, _ := unstructured.NestedInt64(live.Object, "status", "version"); version != step.version {
			t.Errorf("%s: version %d, want %d", step.name, version, step.version)
		}
	}
}
