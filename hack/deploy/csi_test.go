// SPDX-License-Identifier: Apache-2.0

package deploy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// TestCSI builds the component, which has what others must not have: a directory of its host, and the user root.
func TestCSI(t *testing.T) {
	objects := build(t, "testdata/csi")
	set := get[*appsv1.DaemonSet](t, objects, "secret-agent-csi")
	p := pod{set, set.Spec.Template.ObjectMeta, set.Spec.Template.Spec, true}
	checkContainers(t, p)
	checkProbes(t, p)
	if p.spec.AutomountServiceAccountToken == nil || *p.spec.AutomountServiceAccountToken || !matches(t, set.Spec.Selector, p.meta.Labels) {
		t.Error("it has a token, or does not select its Pods")
	}
	for _, o := range objects {
		kind := o.GetObjectKind().GroupVersionKind().Kind
		if namespace := o.GetNamespace(); kind != "Namespace" && kind != "CSIDriver" && namespace != "secret-csi" {
			t.Errorf("%s is in namespace %q", id(o), namespace)
		}
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	var refused []string
	for _, result := range evaluator.EvaluatePod(level, &p.meta, &p.spec) {
		if !result.Allowed {
			refused = append(refused, result.ForbiddenReason)
		}
	}
	// hostPath, and the user.
	if diff := cmp.Diff([]string{"restricted volume types", "runAsNonRoot != true", "runAsUser=0"}, refused); diff != "" {
		t.Error(diff)
	}
	driver := get[*storagev1.CSIDriver](t, objects, "secrets-store.csi.k8s.io")
	if got := driver.Spec.TokenRequests; len(got) != 1 || got[0].Audience != "secret.grafana.app" || !*driver.Spec.PodInfoOnMount || !*driver.Spec.RequiresRepublish {
		t.Errorf("the driver: %+v", driver.Spec)
	}
	namespace := get[*corev1.Namespace](t, objects, "secret-csi")
	server := map[string]string{"app.kubernetes.io/name": "secret-apiserver"}
	if !reachable(t, build(t, builds["production"]), namespace.Labels, p.meta.Labels, server, "decrypt") {
		t.Error("it does not reach the decrypt port")
	}
}
