// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/status"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
	"github.com/securevalue/secret-apiserver/pkg/testing/csidriver"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// csiProvider runs secret-agent csi, and returns the driver of its node.
func csiProvider(t *testing.T) *csidriver.Driver {
	t.Helper()
	dir, err := os.MkdirTemp("", "csi") // a socket needs a short path
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(dir, "ca.crt")
	if err := pki.WriteFile(ca, server.CA.PEM()); err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context()) // the end of the test asks it to end, below
	provider := exec.CommandContext(ctx, harness.AgentBinary(t), "csi", "--server="+server.Replicas[0].DecryptURL,
		"--ca-file="+ca, "--socket-dir="+dir, "--metrics-bind-address=127.0.0.1:0")
	provider.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var output strings.Builder
	provider.Stdout, provider.Stderr = &output, &output
	if err := provider.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = provider.Process.Signal(syscall.SIGTERM)
		if err := provider.Wait(); err != nil || strings.Contains(output.String(), "canary-") {
			t.Errorf("the provider ended with %v", err)
		}
		t.Logf("%s", output.String())
		_ = os.RemoveAll(dir)
	})
	return csidriver.Dial(t, filepath.Join(dir, "secret-agent.sock"))
}

// csiPod makes a Pod of a new ServiceAccount, which no node runs.
func csiPod(t *testing.T, namespace, account string) *corev1.Pod {
	t.Helper()
	newServiceAccount(t, namespace, account)
	no := false
	pod, err := cluster.Admin.CoreV1().Pods(namespace).Create(t.Context(), &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: account},
		Spec: corev1.PodSpec{
			ServiceAccountName: account, AutomountServiceAccountToken: &no,
			Containers: []corev1.Container{{Name: "app", Image: "registry.example.com/app:v1"}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// csiRequest is what the driver sends for a volume of a Pod. The kubelet asks for the tokens of tokenRequests: for an audience,
// and bound to the Pod.
func csiRequest(t *testing.T, pod *corev1.Pod, namespace, audience string) csidriver.Request {
	t.Helper()
	issued, err := cluster.Admin.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(t.Context(), pod.Spec.ServiceAccountName,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
			Audiences:      []string{audience},
			BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
		}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	parameters := map[string]string{"namespace": namespace, "objects": "[{path: tls/key.pem, name: held}]"}
	return csidriver.NewRequest(pod.Namespace, pod.Name, string(pod.UID), parameters,
		map[string]string{decryptAudience: issued.Status.Token})
}

// TestCSI mounts volumes with tokens of kube-apiserver: only the Pod whose ServiceAccount is bound where the value is gets it.
func TestCSI(t *testing.T) {
	shop, values, other := newNamespace(t), newNamespace(t), newNamespace(t)
	object, value := newSecureValue("held")
	if _, err := asAdmin(t, values).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	driver := csiProvider(t)
	bound, unbound := csiPod(t, shop, "checkout"), csiPod(t, shop, "unbound")
	for _, namespace := range []string{values, shop} {
		binding := bind(t, namespace, "checkout", "ClusterRole", k6Role)
		binding.Subjects[0].Namespace = shop
		if _, err := cluster.Admin.RbacV1().RoleBindings(namespace).Update(t.Context(), binding, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	good := csiRequest(t, bound, values, decryptAudience)
	eventually(t, "mounted", func(ctx context.Context) error {
		answer, err := driver.Mount(ctx, good)
		if want := (csidriver.File{Mode: 0o444, Contents: value}); err != nil || answer.Files["tls/key.pem"] != want {
			return fmt.Errorf("%d files, %w", len(answer.Files), err)
		}
		return nil
	})
	refused := func(what string, request csidriver.Request, code, want string) {
		t.Helper()
		_, err := driver.Mount(t.Context(), request)
		if status.Code(err).String() != code || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s: %s", what, err, code, want)
		}
	}
	grant := "kubectl securevalue grant " + shop + ":checkout --decrypter DECRYPTER -n " + other
	refused("another audience", csiRequest(t, bound, values, "vault"), "Unauthenticated", `is issued for audience ["vault"]`)
	refused("another namespace", csiRequest(t, bound, other, decryptAudience), "PermissionDenied", grant)
	refused("an unbound account", csiRequest(t, unbound, values, decryptAudience), "PermissionDenied", "grant "+shop+":unbound ")
	refused("a value that is not there", csiRequest(t, bound, shop, decryptAudience), "NotFound", "held: not found")
	now := int64(0)
	if err := cluster.Admin.CoreV1().Pods(shop).Delete(t.Context(), bound.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the token of a Pod ends with it", func(ctx context.Context) error {
		if _, err := driver.Mount(ctx, good); status.Code(err).String() != "Unauthenticated" {
			return fmt.Errorf("%w", err)
		}
		return nil
	})
}
