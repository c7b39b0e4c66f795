// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// plugin runs the plugin of this tree in a namespace, as the administrator or with a token.
func plugin(t *testing.T, namespace, token string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	binary, err := filepath.Abs(filepath.Join(root, "bin", "e2e", "kubectl-securevalue"))
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"--kubeconfig=" + cluster.Kubeconfig, "-n", namespace}
	if token != "" {
		all[0] = "--kubeconfig=" + tokenKubeconfig(t, token)
	}
	c := exec.CommandContext(t.Context(), binary, append(all, args...)...)
	c.Env = append(c.Environ(), "HOME="+t.TempDir())
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	var exit *exec.ExitError
	if err := c.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// tokenKubeconfig is a kubeconfig that has a token and no certificate.
func tokenKubeconfig(t *testing.T, token string) string {
	t.Helper()
	config := cluster.TokenConfig(token)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: config.Host, CertificateAuthorityData: config.CAData, CertificateAuthority: config.CAFile}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {Token: token}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, file)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func buildPlugin(t *testing.T) {
	t.Helper()
	output, err := command(t.Context(), "go", "build", "-buildvcs=false", "-o", "bin/e2e/kubectl-securevalue", "./cmd/kubectl-securevalue")
	if err != nil {
		t.Fatalf("building the plugin: %v\n%s", err, output)
	}
}

// TestPluginAccess compares the answers of the plugin, from the RBAC objects of a real cluster and its reviews, with
// the decrypt port.
func TestPluginAccess(t *testing.T) {
	buildPlugin(t)
	namespace, other := newNamespace(t), newNamespace(t)
	object, value := newSecureValue("held")
	if _, err := asAdmin(t, namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	bound := decryptToken(t, namespace, "bound")
	bind(t, namespace, "bound", "ClusterRole", k6Role)
	everywhere := decryptToken(t, other, "everywhere")
	bindEverywhere(t, other, "everywhere", k6Role)
	wild := decryptToken(t, other, "wild")
	bindEverywhere(t, other, "wild", "cluster-admin")
	admin := decryptToken(t, namespace, "admin")
	bind(t, namespace, "admin", "ClusterRole", "admin")
	grouped := decryptToken(t, other, "grouped")
	bindGroup(t, namespace, "system:serviceaccounts:"+other, k6Role)
	removed := bind(t, namespace, "removed", "ClusterRole", k6Role)
	if err := cluster.Admin.RbacV1().RoleBindings(namespace).Delete(t.Context(), removed.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	table, stderr, code := plugin(t, namespace, "", "who-can-decrypt", "held")
	if code != 0 {
		t.Fatalf("who-can-decrypt: %s", stderr)
	}
	t.Log("\n" + table)
	for account, test := range map[string]struct {
		namespace, token string
		listed, may      bool
	}{
		"bound":      {namespace, bound, true, true},
		"everywhere": {other, everywhere, true, true},
		"wild":       {other, wild, false, false},
		"grouped":    {other, grouped, false, true}, // its group is listed
		"admin":      {namespace, admin, false, false},
	} {
		if listed := strings.Contains(table, "ServiceAccount "+test.namespace+"/"+account+" "); listed != test.listed {
			t.Errorf("%s: listed %t, want %t", account, listed, test.listed)
		}
		want, wantCode := "yes\n", 0
		if !test.may {
			want, wantCode = "no\n", 1
		}
		eventually(t, "can-decrypt as "+account, func(context.Context) error {
			out, errs, code := plugin(t, namespace, "", "can-decrypt", "held", "--as", "system:serviceaccount:"+test.namespace+":"+account)
			if code != wantCode || !strings.HasPrefix(out, want) {
				return fmt.Errorf("code %d, %s%s", code, out, errs)
			}
			return nil
		})
		eventually(t, "the decrypt port agrees about "+account, func(context.Context) error {
			got, err := decrypt(t, server.Replicas[0], namespace, "held", test.token, nil, nil)
			if err != nil || (got.code == http.StatusOK && got.body == value) != test.may {
				return fmt.Errorf("%d, %w", got.code, err)
			}
			return nil
		})
	}
	for _, want := range []string{
		"Group system:serviceaccounts:" + other + " ", "Refused: ServiceAccount " + other + "/wild, in spite of ClusterRoleBinding/",
		"ClusterRole/cluster-admin (* in verbs, apiGroups, resources): permission to use every decrypter is a wildcard",
		"Refused: Group system:masters, in spite of ClusterRoleBinding/cluster-admin of ClusterRole/cluster-admin",
		// The account is in the namespace of the value, whose admin can create a token for it.
		"Indirect, by permissions over ServiceAccount " + namespace + "/bound:\n",
		"  ServiceAccount " + namespace + "/admin, by RoleBinding/", "    create serviceaccounts/token", "    impersonate serviceaccounts\n",
		"Indirect, by permissions over SecureValue " + namespace + "/held:\n", "are parts of Kubernetes (accounts in kube-system",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q", want)
		}
	}

	// Checks about oneself: the administrator, whose group does not count, and a ServiceAccount that may not create
	// reviews.
	if out, errs, code := plugin(t, namespace, "", "can-decrypt", "held"); code != 1 || !strings.HasPrefix(out, "no\n") {
		t.Errorf("as the administrator: code %d, %s%s", code, out, errs)
	}
	reader := newServiceAccount(t, namespace, "reader")
	bind(t, namespace, "reader", "ClusterRole", "secret.grafana.app:securevalues-reader")
	eventually(t, "about oneself, by a reader", func(context.Context) error {
		if out, errs, code := plugin(t, namespace, reader, "can-decrypt", "held"); code != 1 || !strings.HasPrefix(out, "no\n") {
			return fmt.Errorf("code %d, %s%s", code, out, errs)
		}
		return nil
	})
	if _, errs, code := plugin(t, namespace, reader, "who-can-decrypt", "held"); code != 1 || !strings.Contains(errs, "listing clusterroles: ") ||
		!strings.Contains(errs, "requires permission to list roles, rolebindings, clusterroles and clusterrolebindings") {
		t.Errorf("who-can-decrypt without the right: code %d, %s", code, errs)
	}
	if _, errs, code := plugin(t, namespace, reader, "can-decrypt", "held", "--as", "bound"); code != 2 || !strings.Contains(errs, "permission to create subjectaccessreviews") {
		t.Errorf("can-decrypt of another without the right: code %d, %s", code, errs)
	}
}

func bindGroup(t *testing.T, namespace, group, role string) {
	t.Helper()
	_, err := cluster.Admin.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "group-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.GroupKind, Name: group}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPluginImportsSecrets imports the core Secrets of an application, interrupted and repeated, then from another
// namespace.
func TestPluginImportsSecrets(t *testing.T) {
	buildPlugin(t)
	namespace, target := newNamespace(t), newNamespace(t)
	password, certificate := harness.Canary(), harness.Canary()
	for _, s := range []corev1.Secret{
		{ObjectMeta: metav1.ObjectMeta{Name: "db", Labels: map[string]string{"app": "shop"}},
			Data: map[string][]byte{"PASSWORD": []byte(password), "tls.key": []byte(certificate + "\n"), "blob": []byte(password + "\xff"), "empty": {}}},
		{ObjectMeta: metav1.ObjectMeta{Name: "release", Labels: map[string]string{"app": "shop"}}, Type: "helm.sh/release.v1", Data: map[string][]byte{"release": []byte(password)}},
		{ObjectMeta: metav1.ObjectMeta{Name: "unrelated"}, Data: map[string][]byte{"key": []byte(password)}},
	} {
		if _, err := cluster.Admin.CoreV1().Secrets(namespace).Create(t.Context(), &s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	imported := func(namespace string, wantCode int, want string, args ...string) {
		t.Helper()
		stdout, stderr, code := plugin(t, namespace, "", append([]string{"import", "--from-secrets", "--decrypter", "k6-cloud"}, args...)...)
		if found := harness.Find([]byte(stdout+stderr), password, certificate); len(found) > 0 {
			t.Errorf("the output holds %q", found)
		}
		if text := strings.Join(strings.Fields(stdout), " "); code != wantCode || !strings.Contains(text, want) {
			t.Errorf("import %v: code %d, want %d and %q, got\n%s%s", args, code, wantCode, want, stdout, stderr)
		}
	}
	imported(namespace, 1, "db/PASSWORD db-password would be imported db/blob db-blob skipped: the value is not UTF-8 text", "-l", "app=shop", "--dry-run")
	imported(namespace, 0, "release - left out: Secrets of type helm.sh/release.v1 are created by a program 1 imported, 0 existed, 4 left out",
		"-l", "app=shop", "--map", "db/blob=", "--map", "db/empty=", "--map", "db/tls.key=")
	imported(namespace, 1, "db/PASSWORD db-password exists: imported before", "-l", "app=shop", "--map", "db/tls.key=shop-tls")
	imported(target, 0, "unrelated/key unrelated-key imported", "--all", "--source-namespace", namespace, "--map", "db/blob=", "--map", "db/empty=")

	// With an account without permission to read the Secrets: they come from another kubeconfig.
	creator := newServiceAccount(t, target, "creator")
	bind(t, target, "creator", "ClusterRole", "secret.grafana.app:securevalues-creator")
	eventually(t, "from another kubeconfig", func(context.Context) error {
		out, errs, code := plugin(t, target, creator, "import", "--from-secrets", "-l", "app=shop", "--decrypter", "k6-cloud",
			"--source-kubeconfig", cluster.Kubeconfig, "--source-namespace", namespace, "--map", "db/PASSWORD=again", "--map", "db/blob=", "--map", "db/empty=")
		if code != 0 || !strings.Contains(out, "1 imported, 1 existed") {
			return fmt.Errorf("code %d, %s%s", code, out, errs)
		}
		return nil
	})
	if _, errs, code := plugin(t, target, creator, "import", "--from-secrets", "--all", "--decrypter", "k6-cloud"); code != 1 ||
		!strings.Contains(errs, "importing Secrets requires permission to list them") {
		t.Errorf("without the right to read Secrets: code %d, %s", code, errs)
	}

	token := decryptToken(t, namespace, "reader")
	bind(t, namespace, "reader", "ClusterRole", k6Role)
	for name, want := range map[string]string{"db-password": password, "shop-tls": certificate + "\n"} {
		eventually(t, name+" opens", func(context.Context) error {
			got, err := decrypt(t, server.Replicas[0], namespace, name, token, nil, nil)
			if err != nil || got.body != want {
				return fmt.Errorf("%d, %w", got.code, err)
			}
			return nil
		})
	}
	list, err := asAdmin(t, target).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 4 {
		t.Errorf("%d values in the other namespace, %v", len(list.Items), err)
	}
}
