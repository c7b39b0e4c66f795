// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	restclient "k8s.io/client-go/rest"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// patience bounds what should happen soon; it makes no claim about speed.
const patience = 90 * time.Second

var namespaces atomic.Int64

// newNamespace makes a namespace for a test.
func newNamespace(t *testing.T) string {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name()))
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: trim(name, 40) + "-" + strconv.FormatInt(namespaces.Add(1), 10)}}
	if _, err := cluster.Admin.CoreV1().Namespaces().Create(t.Context(), namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // nobody waits for it
		_ = cluster.Admin.CoreV1().Namespaces().Delete(context.Background(), namespace.Name, metav1.DeleteOptions{})
	})
	return namespace.Name
}

// newServiceAccount makes a ServiceAccount and returns a token of it.
func newServiceAccount(t *testing.T, namespace, name string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := cluster.Admin.CoreV1().ServiceAccounts(namespace).Create(t.Context(), account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := cluster.Token(t.Context(), namespace, name)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// bind gives a ServiceAccount a role in its namespace.
func bind(t *testing.T, namespace, account, kind, role string) *rbacv1.RoleBinding {
	t.Helper()
	binding, err := cluster.Admin.RbacV1().RoleBindings(namespace).Create(t.Context(), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{GenerateName: account + "-"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: role},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: account}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return binding
}

// secureValues is the generated client in a namespace.
func secureValues(t *testing.T, config *restclient.Config, namespace string) typedv1beta1.SecureValueInterface {
	t.Helper()
	clients, err := versioned.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return clients.SecretV1beta1().SecureValues(namespace)
}

// asAdmin is that client through the aggregator, for the administrator.
func asAdmin(t *testing.T, namespace string) typedv1beta1.SecureValueInterface {
	t.Helper()
	return secureValues(t, cluster.AdminConfig(), namespace)
}

// newSecureValue returns an object and the value in it.
func newSecureValue(name string) (*v1beta1.SecureValue, string) {
	value := harness.Canary()
	return &v1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1beta1.SecureValueSpec{
			Description: "made by a test", Value: sensitive.New(value), Decrypters: []string{"k6-cloud"},
		},
	}, value
}

// create stores a value as the administrator.
func create(t *testing.T, namespace, name string) *v1beta1.SecureValue {
	t.Helper()
	object, _ := newSecureValue(name)
	created, err := asAdmin(t, namespace).Create(t.Context(), object, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return created
}

// kubectl runs the pinned kubectl as the administrator.
func kubectl(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	binary, err := filepath.Abs(filepath.Join(root, "bin", "kubectl"))
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), binary, append([]string{"--kubeconfig=" + cluster.Kubeconfig}, args...)...)
	command.Env = append(command.Environ(), "HOME="+t.TempDir())
	var out, errs bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = strings.NewReader(stdin), &out, &errs
	err = command.Run()
	return out.String(), errs.String(), err
}

// mustKubectl is kubectl for what must work. It returns what was printed.
func mustKubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	stdout, stderr, err := kubectl(t, stdin, args...)
	if err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, stderr)
	}
	return stdout
}

// eventually repeats a check until it is nil.
func eventually(t *testing.T, what string, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for started := time.Now(); ; {
		err := check(ctx)
		if err == nil {
			t.Logf("%s: after %s", what, time.Since(started).Round(time.Millisecond))
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func trim(s string, length int) string { return s[:min(len(s), length)] }
