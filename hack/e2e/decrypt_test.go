// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/hack/e2e/controlplane"
	"github.com/securevalue/secret-apiserver/hack/e2e/deployment"
	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
)

const (
	decryptAudience = "secret.grafana.app"
	kubeadmAdmins   = "kubeadm:cluster-admins" // as kubeadm binds it
	k6Role          = "secret.grafana.app:decrypter-k6-cloud"
)

// decrypt asks a replica's decrypt port for a value in plain text.
func decrypt(t *testing.T, replica *deployment.Replica, namespace, name, token string, certificate *pki.Pair, headers http.Header) (answer, error) {
	t.Helper()
	all := http.Header{"Accept": {"text/plain"}}
	maps.Copy(all, headers)
	return send(t, replica.DecryptURL+"/decrypt/v1/namespaces/"+namespace+"/secrets/"+name+"/decrypt", server.CA, certificate, token, all)
}

// decryptToken is a token of a new ServiceAccount, issued for the decrypt port's audience.
func decryptToken(t *testing.T, namespace, account string) string {
	t.Helper()
	newServiceAccount(t, namespace, account)
	token, err := cluster.Token(t.Context(), namespace, account, decryptAudience)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestDecrypt asks, at both replicas, as ServiceAccounts with every combination of rights, and as those who have all
// rights elsewhere, or every right by a wildcard: only the service that is bound by name where the value is gets it.
func TestDecrypt(t *testing.T) {
	namespace, other := newNamespace(t), newNamespace(t)
	object, value := newSecureValue("held")
	if _, err := asAdmin(t, namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bound := decryptToken(t, namespace, "bound")
	bind(t, namespace, "bound", "ClusterRole", k6Role)
	elsewhere := decryptToken(t, other, "elsewhere")
	bind(t, other, "elsewhere", "ClusterRole", k6Role)
	everywhere := decryptToken(t, other, "everywhere")
	bindEverywhere(t, other, "everywhere", k6Role)
	otherDecrypter := decryptToken(t, namespace, "other-decrypter")
	bind(t, namespace, "other-decrypter", "ClusterRole", "secret.grafana.app:decrypter-synthetic-monitoring")
	unbound := decryptToken(t, namespace, "unbound")
	admin, editor := decryptToken(t, namespace, "admin"), decryptToken(t, namespace, "editor")
	bind(t, namespace, "admin", "ClusterRole", "admin")
	bind(t, namespace, "editor", "ClusterRole", "edit")
	clusterAdmin := decryptToken(t, other, "cluster-admin")
	bindEverywhere(t, other, "cluster-admin", "cluster-admin")
	adminHere := decryptToken(t, namespace, "admin-here")
	bind(t, namespace, "admin-here", "ClusterRole", "cluster-admin")
	adminAndService := decryptToken(t, namespace, "admin-and-service")
	bind(t, namespace, "admin-and-service", "ClusterRole", k6Role)
	bind(t, namespace, "admin-and-service", "ClusterRole", "cluster-admin")
	system, err := cluster.Token(t.Context(), metav1.NamespaceSystem, "default", decryptAudience)
	if err != nil {
		t.Fatal(err)
	}
	bindEveryone(t, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: kubeadmAdmins}, "cluster-admin")
	kubeadm := mustClient(t, cluster.ClientCA, "kubernetes-admin", kubeadmAdmins)
	frontProxy := mustClient(t, cluster.FrontProxyCA, controlplane.FrontProxyName)
	impersonated := http.Header{"Impersonate-User": {"system:serviceaccount:" + namespace + ":bound"}}
	forClusterOnly := newServiceAccount(t, namespace, "for-cluster-only")
	bind(t, namespace, "for-cluster-only", "ClusterRole", k6Role)

	for account, where := range map[string]string{"cluster-admin": other, "admin-here": namespace, "admin-and-service": namespace} {
		eventually(t, "kube-apiserver allows everything to "+account, func(ctx context.Context) error {
			return allowsEverything(ctx, "system:serviceaccount:"+where+":"+account, namespace)
		})
	}
	for _, replica := range server.Replicas {
		eventually(t, "the bound service gets the value", func(context.Context) error {
			got, err := decrypt(t, replica, namespace, "held", bound, nil, nil)
			if err != nil || got.code != http.StatusOK || got.body != value {
				return fmt.Errorf("%d, %w", got.code, err)
			}
			return nil
		})
		for name, test := range map[string]struct {
			namespace, name, token string
			certificate            *pki.Pair
			headers                http.Header
			code                   int
		}{
			"bound everywhere":         {namespace: namespace, name: "held", token: everywhere, code: http.StatusOK},
			"absent":                   {namespace: namespace, name: "absent", token: bound, code: http.StatusNotFound},
			"another decrypter":        {namespace: namespace, name: "held", token: otherDecrypter, code: http.StatusNotFound},
			"no right":                 {namespace: namespace, name: "held", token: unbound, code: http.StatusForbidden},
			"bound elsewhere":          {namespace: namespace, name: "held", token: elsewhere, code: http.StatusForbidden},
			"another namespace":        {namespace: other, name: "held", token: bound, code: http.StatusForbidden},
			"a namespace's admin":      {namespace: namespace, name: "held", token: admin, code: http.StatusForbidden},
			"a namespace's editor":     {namespace: namespace, name: "held", token: editor, code: http.StatusForbidden},
			"cluster-admin":            {namespace: namespace, name: "held", token: clusterAdmin, code: http.StatusForbidden},
			"cluster-admin, no value":  {namespace: namespace, name: "absent", token: clusterAdmin, code: http.StatusForbidden},
			"cluster-admin here":       {namespace: namespace, name: "held", token: adminHere, code: http.StatusForbidden},
			"cluster-admin, by name":   {namespace: namespace, name: "held", token: adminAndService, code: http.StatusForbidden},
			"kube-system":              {namespace: namespace, name: "held", token: system, code: http.StatusForbidden},
			"impersonation":            {namespace: namespace, name: "held", token: clusterAdmin, headers: impersonated, code: http.StatusForbidden},
			"kubeadm's administrator":  {namespace: namespace, name: "held", certificate: kubeadm, code: http.StatusUnauthorized},
			"the front proxy":          {namespace: namespace, name: "held", certificate: frontProxy, headers: forged, code: http.StatusUnauthorized},
			"a token for the cluster":  {namespace: namespace, name: "held", token: forClusterOnly, code: http.StatusUnauthorized},
			"nobody":                   {namespace: namespace, name: "held", code: http.StatusUnauthorized},
			"cluster admin":            {namespace: namespace, name: "held", certificate: mustClient(t, cluster.ClientCA, "root", "system:masters"), code: http.StatusUnauthorized},
			"forged front-proxy names": {namespace: namespace, name: "held", headers: forged, code: http.StatusUnauthorized},
		} {
			got, err := decrypt(t, replica, test.namespace, test.name, test.token, test.certificate, test.headers)
			if err != nil || got.code != test.code || (got.code != http.StatusOK && strings.Contains(got.body, value)) {
				t.Errorf("%s: %d %q, %v, want %d", name, got.code, got.message, err, test.code)
			}
		}
		log, err := os.ReadFile(filepath.Join(replica.DecryptAuditDir, "decrypt.log"))
		if err != nil || !strings.Contains(string(log), ":cluster-admin") || !strings.Contains(string(log), `"reason":"wildcard"`) {
			t.Errorf("the decrypt audit log has no denied wildcard: %v", err)
		}
		output, err := command(t.Context(), "bin/e2e/secret-apiserver", "audit", "verify", replica.DecryptAuditDir, "--key-file", server.DecryptAuditKey())
		if err != nil {
			t.Errorf("audit verify: %v\n%s", err, output)
		}
	}
}

// allowsEverything asks kube-apiserver whether a user may use every decrypter of a namespace.
func allowsEverything(ctx context.Context, user, namespace string) error {
	review, err := cluster.Admin.AuthorizationV1().SubjectAccessReviews().Create(ctx, &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: namespace, Verb: "use", Group: "secret.grafana.app", Resource: "decrypters",
		}},
	}, metav1.CreateOptions{})
	if err == nil && !review.Status.Allowed {
		err = errors.New("not allowed")
	}
	return err
}

// bindEverywhere gives a ServiceAccount a role in all namespaces.
func bindEverywhere(t *testing.T, namespace, account, role string) {
	t.Helper()
	bindEveryone(t, rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}, role)
}

// bindEveryone gives a subject a role in all namespaces.
func bindEveryone(t *testing.T, subject rbacv1.Subject, role string) {
	t.Helper()
	binding, err := cluster.Admin.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "everywhere-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{subject},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cluster.Admin.RbacV1().ClusterRoleBindings().Delete(context.Background(), binding.Name, metav1.DeleteOptions{})
	})
}

// TestDecryptRevocation takes the binding, and then the account, away from a service that decrypts. How long it still
// got values is logged: the decrypt port keeps an answer for half a second.
func TestDecryptRevocation(t *testing.T) {
	for name, revoke := range map[string]func(namespace, binding string) error{
		"binding": func(namespace, binding string) error {
			return cluster.Admin.RbacV1().RoleBindings(namespace).Delete(t.Context(), binding, metav1.DeleteOptions{})
		},
		"account": func(namespace, _ string) error {
			return cluster.Admin.CoreV1().ServiceAccounts(namespace).Delete(t.Context(), "service", metav1.DeleteOptions{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := newNamespace(t)
			create(t, namespace, "held")
			token := decryptToken(t, namespace, "service")
			binding := bind(t, namespace, "service", "ClusterRole", k6Role)
			asked := func(want ...int) func(context.Context) error {
				return func(context.Context) error {
					got, err := decrypt(t, server.Replicas[0], namespace, "held", token, nil, nil)
					for _, code := range want {
						if err == nil && got.code == code {
							return nil
						}
					}
					return fmt.Errorf("%d, %w", got.code, err)
				}
			}
			eventually(t, "the service gets the value", asked(http.StatusOK))
			if err := revoke(namespace, binding.Name); err != nil {
				t.Fatal(err)
			}
			revoked := time.Now()
			eventually(t, "the service gets nothing any more", asked(http.StatusForbidden, http.StatusUnauthorized))
			t.Logf("refused %s after the %s was removed", time.Since(revoked).Round(time.Millisecond), name)
		})
	}
}
