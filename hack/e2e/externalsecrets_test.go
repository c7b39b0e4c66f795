// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// TestExternalSecretsToken runs the job of the example with the rights that it gives it: the token that it stores opens
// a value, and the Secret is one that the operator takes.
func TestExternalSecretsToken(t *testing.T) {
	buildPlugin(t)
	namespace := newNamespace(t)
	object, value := newSecureValue("db-password")
	if _, err := asAdmin(t, namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	example := strings.ReplaceAll(string(harness.ReadFile(t, filepath.Join(root, "docs/examples/external-secrets/shop.yaml"))),
		"namespace: shop", "namespace: "+namespace)
	var job batchv1.CronJob
	var core []string
	for text := range strings.SplitSeq(example, "\n---\n") {
		if strings.Contains(text, "apiVersion: external-secrets.io/") { // its API is not served here
			continue
		}
		core = append(core, text)
		if strings.Contains(text, "kind: CronJob") {
			if err := yaml.UnmarshalStrict([]byte(text), &job); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustKubectl(t, strings.Join(core, "\n---\n"), "apply", "-f", "-")
	if out, errs, code := plugin(t, namespace, "", "grant", namespace+":eso-decrypt", "--decrypter=k6-cloud"); code != 0 {
		t.Fatalf("grant: %s%s", out, errs)
	}
	renewer, err := cluster.Token(t.Context(), namespace, "eso-renew")
	if err != nil {
		t.Fatal(err)
	}
	container := job.Spec.JobTemplate.Spec.Template.Spec.Containers[0]
	kubeconfig := tokenKubeconfig(t, renewer)
	mustKubectl(t, "", "--kubeconfig="+kubeconfig, "config", "set-context", "x", "--namespace="+namespace)
	bin, err := filepath.Abs(filepath.Join(root, "bin"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // it renews what it has stored
		run := exec.CommandContext(t.Context(), container.Command[0], append(container.Command[1:], container.Args...)...)
		run.Env = append(run.Environ(), "KUBECONFIG="+kubeconfig, "HOME="+t.TempDir(), "PATH="+bin+":/usr/bin:/bin")
		if out, err := run.CombinedOutput(); err != nil || strings.Contains(string(out), "ey") {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	stored, err := cluster.Admin.CoreV1().Secrets(namespace).Get(t.Context(), "decrypt-token", metav1.GetOptions{})
	if err != nil || stored.Labels["external-secrets.io/type"] != "webhook" || stored.Type != corev1.SecretTypeOpaque {
		t.Fatalf("labels %v, type %s, %v", stored.Labels, stored.Type, err)
	}
	got, err := decrypt(t, server.Replicas[0], namespace, "db-password", string(stored.Data["token"]), nil, nil)
	if err != nil || got.code != http.StatusOK || got.body != value {
		t.Errorf("%d, %v", got.code, err)
	}
}
