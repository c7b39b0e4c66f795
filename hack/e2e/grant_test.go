// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestGrant lets services decrypt by the plugin, as the administrator and as a granter, and takes it back.
func TestGrant(t *testing.T) {
	buildPlugin(t)
	namespace, shop := newNamespace(t), newNamespace(t)
	for _, name := range []string{"one", "two"} {
		object, _ := newSecureValue(name)
		if _, err := asAdmin(t, namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	token := decryptToken(t, shop, "checkout")
	wait := func(what, name string, code int) {
		t.Helper()
		eventually(t, what, func(context.Context) error {
			got, err := decrypt(t, server.Replicas[0], namespace, name, token, nil, nil)
			if err != nil || got.code != code {
				return fmt.Errorf("%s: %d, %w", name, got.code, err)
			}
			return nil
		})
	}
	run := func(as string, wantCode int, want string, args ...string) {
		t.Helper()
		args = append([]string{args[0], shop + ":checkout"}, args[1:]...)
		if out, errs, code := plugin(t, namespace, as, args...); code != wantCode || !strings.Contains(out+errs, want) {
			t.Fatalf("%q: code %d, want %d and %q:\n%s%s", args, code, wantCode, want, out, errs)
		}
	}
	run("", 0, "serviceAccountName: checkout", "grant", "--decrypter=k6-cloud", "--name=one")
	wait("one value", "one", http.StatusOK)
	wait("one value", "two", http.StatusForbidden)
	found, err := cluster.Admin.CoreV1().Namespaces().Get(t.Context(), shop, metav1.GetOptions{})
	if err != nil || found.Labels["secret.grafana.app/decrypt"] != "allowed" {
		t.Errorf("the namespace of the Pods has labels %v, %v", found.Labels, err)
	}
	run("", 0, "applied (server dry run)", "grant", "--decrypter=k6-cloud", "--dry-run=server")
	run("", 0, "kind: RoleBinding", "grant", "--decrypter=k6-cloud", "-o", "yaml")
	wait("neither changes anything", "two", http.StatusForbidden)

	granter := newServiceAccount(t, namespace, "granter")
	run(granter, 1, "applying rolebinding", "grant", "--decrypter=k6-cloud")
	bind(t, namespace, "granter", "ClusterRole", "secret.grafana.app:decrypter-granter")
	eventually(t, "a granter grants", func(context.Context) error {
		out, errs, code := plugin(t, namespace, granter, "grant", shop+":checkout", "--decrypter=k6-cloud")
		if code != 0 || !strings.Contains(errs, "kubectl label namespace "+shop) {
			return fmt.Errorf("code %d, %s%s", code, out, errs)
		}
		return nil
	})
	wait("every value", "two", http.StatusOK)
	run(granter, 1, "applying rolebinding", "grant", "--decrypter=checkout")
	run("", 0, "clusterrole/secret.grafana.app:decrypter-checkout applied", "grant", "--decrypter=checkout")
	run("", 0, "rolebinding/decrypter-checkout-", "revoke", "--decrypter=checkout")
	run("", 0, "role/decrypter-k6-cloud-", "revoke", "--decrypter=k6-cloud")
	wait("nothing", "one", http.StatusForbidden)
	run("", 1, "has no such grant", "revoke", "--decrypter=k6-cloud")
}
