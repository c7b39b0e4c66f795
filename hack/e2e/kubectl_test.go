// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/testing/docs"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// manifest is a SecureValue as a person writes it.
func manifest(name, value string, lines ...string) string {
	return strings.Join(append([]string{
		"apiVersion: secret.grafana.app/v1beta1", "kind: SecureValue", "metadata: {name: " + name + "}",
		"spec:", "  description: made with kubectl", "  value: " + value,
	}, lines...), "\n")
}

// TestKubectl goes through what people do all day, in a real cluster.
func TestKubectl(t *testing.T) {
	namespace := newNamespace(t)
	value := harness.Canary()
	k := func(stdin string, args ...string) string {
		t.Helper()
		out := mustKubectl(t, stdin, append(args, "-n", namespace)...)
		if found := harness.Find([]byte(out), value); len(found) > 0 {
			t.Errorf("kubectl %v printed %v", args, found)
		}
		return out
	}
	expect := func(out string, parts ...string) {
		t.Helper()
		for _, part := range parts {
			if !strings.Contains(out, part) {
				t.Errorf("no %q in:\n%s", part, out)
			}
		}
	}

	expect(k(manifest("x", value), "create", "-f", "-"), "securevalue.secret.grafana.app/x created")
	expect(k("", "get", "sv", "x"), "NAME", "DESCRIPTION", "made with kubectl")
	expect(k("", "get", "securevalues.secret.grafana.app", "-o", "wide"), "KEEPER", "aesgcm/")
	expect(k("", "get", "sv", "x", "-o", "yaml"), "version: 1")
	expect(k("", "describe", "sv", "x"), "made with kubectl")
	expect(k("", "label", "sv", "x", "team=red"), "labeled")
	expect(k("", "get", "sv", "-l", "team=red", "-o", "name"), "securevalue.secret.grafana.app/x")
	expect(k("", "annotate", "sv", "x", "note=1"), "annotated")
	expect(k("", "patch", "sv", "x", "--type=merge", "-p", `{"spec":{"value":"`+value+`"}}`), "patched")
	expect(k("", "get", "sv", "x", "-o", "jsonpath={.status.version}"), "2")
	expect(k(manifest("applied", value), "apply", "-f", "-"), "created")
	expect(k(manifest("applied", value, "  decrypters: [k6-cloud]"), "apply", "-f", "-"), "configured")
	expect(k(manifest("served", value), "apply", "--server-side", "-f", "-"), "serverside-applied")
	expect(k(manifest("x", value), "replace", "-f", "-"), "replaced")
	expect(k("", "auth", "can-i", "create", "securevalues"), "yes")
	expect(k("", "explain", "securevalue.spec.value"), "Write-only")
	expect(k("", "api-resources", "--api-group=secret.grafana.app"), "securevalues", "sv", "true")
	expect(k("", "get", "sv", "--chunk-size=1"), "applied", "served", "x")
	expect(mustKubectl(t, "", "get", "sv", "-A"), namespace)
	expect(k("", "delete", "sv", "x"), "deleted")
	expect(k("", "delete", "sv", "--all"), "applied", "served")
	expect(k("", "get", "sv", "-o", "name"), "")
}

// TestKubectlAuthCanI asks for somebody without rights: kube-apiserver and we must agree.
func TestKubectlAuthCanI(t *testing.T) {
	namespace := newNamespace(t)
	newServiceAccount(t, namespace, "nobody")
	stdout, _, err := kubectl(t, "", "auth", "can-i", "get", "securevalues", "-n", namespace, "--as=system:serviceaccount:"+namespace+":nobody")
	if err == nil || strings.TrimSpace(stdout) != "no" {
		t.Errorf("got %q (%v), want no", stdout, err)
	}
}

// TestPages runs the commands of the pages that need a cluster, as they stand and in order.
func TestPages(t *testing.T) {
	buildPlugin(t)
	programs := map[string]string{}
	for name, file := range map[string]string{"kubectl": "bin/kubectl", "kubectl-securevalue": "bin/e2e/kubectl-securevalue"} {
		absolute, err := filepath.Abs(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		programs[name] = absolute
	}
	for _, page := range docs.ClusterPages {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(root, page))
			if err != nil {
				t.Fatal(err)
			}
			blocks, err := docs.Parse(string(text))
			if err != nil {
				t.Fatal(err)
			}
			terminal := docs.NewTerminal(t, page, programs)
			terminal.Environment = append(terminal.Environment, "KUBECONFIG="+cluster.Kubeconfig)
			terminal.Addresses = strings.NewReplacer("127.0.0.1:8444", strings.TrimPrefix(server.Replicas[0].DecryptURL, "https://"))
			harness.WriteFile(t, filepath.Join(terminal.Dir, "ca.crt"), string(server.CA.PEM()))
			ran := 0
			for _, b := range blocks {
				if b.Mark == "tested" {
					terminal.Run(t, b)
					ran++
				}
			}
			if ran == 0 {
				t.Error("the page has no block that is run")
			}
		})
	}
}

const counted corev1.ResourceName = "count/securevalues.secret.grafana.app"

// TestQuota bounds how many values a namespace holds, also while many are created at the same time.
func TestQuota(t *testing.T) {
	namespace := newNamespace(t)
	const limit = 3
	quotas := cluster.Admin.CoreV1().ResourceQuotas(namespace)
	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "few"},
		Spec:       corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{counted: resource.MustParse(fmt.Sprint(limit))}},
	}
	if _, err := quotas.Create(t.Context(), quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	used := func(want int64) func(context.Context) error {
		return func(ctx context.Context) error {
			current, err := quotas.Get(ctx, "few", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if got, ok := current.Status.Used[counted]; !ok || got.Value() != want {
				return fmt.Errorf("used: %v, want %d", current.Status.Used, want)
			}
			return nil
		}
	}
	eventually(t, "the quota counts", used(0))

	var made, refused atomic.Int64
	var workers sync.WaitGroup
	for number := range 4 * limit {
		workers.Go(func() {
			object, _ := newSecureValue(fmt.Sprintf("x-%d", number))
			_, err := asAdmin(t, namespace).Create(t.Context(), object, metav1.CreateOptions{})
			switch {
			case err == nil:
				made.Add(1)
			case apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota: few"):
				refused.Add(1)
			default:
				t.Errorf("create: %v", err)
			}
		})
	}
	workers.Wait()
	if made.Load() != limit || refused.Load() != 3*limit {
		t.Errorf("%d made and %d refused with a quota of %d", made.Load(), refused.Load(), limit)
	}
	eventually(t, "all are counted", used(limit))

	list, err := asAdmin(t, namespace).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != limit {
		t.Fatalf("stored: %d (%v)", len(list.Items), err)
	}
	if err := asAdmin(t, namespace).Delete(t.Context(), list.Items[0].Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a deleted one makes room", func(ctx context.Context) error {
		object, _ := newSecureValue("again")
		_, err := asAdmin(t, namespace).Create(ctx, object, metav1.CreateOptions{})
		return err
	})
}
