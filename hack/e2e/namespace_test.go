// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/securevalue/secret-apiserver/pkg/testing/harness"
)

// storedPrefix is where our records are: --etcd-prefix, the group's resource.
const storedPrefix = "/registry/secret.grafana.app/"

// records returns the keys in our etcd that belong to a namespace.
func records(t *testing.T, namespace string) (keys []string) {
	t.Helper()
	each(t, namespace, func(key string, _ []byte) { keys = append(keys, key) })
	return keys
}

// ciphertexts counts the records of a namespace that hold one.
func ciphertexts(t *testing.T, namespace string) (count int) {
	t.Helper()
	each(t, namespace, func(_ string, record []byte) {
		if bytes.Contains(record, []byte("k8s:enc:")) {
			count++
		}
	})
	return count
}

// each hands over the records in our etcd that belong to a namespace.
func each(t *testing.T, namespace string, visit func(key string, record []byte)) {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{server.EtcdURL}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	all, err := client.Get(t.Context(), storedPrefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range all.Kvs {
		if key := string(record.Key); strings.Contains(key, "/"+namespace+"/") {
			visit(key, record.Value)
		}
	}
}

func TestCreateInMissingNamespace(t *testing.T) {
	object, _ := newSecureValue("x")
	_, err := asAdmin(t, "no-such-namespace").Create(t.Context(), object, metav1.CreateOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("want 404, got %v", err)
	}
	if keys := records(t, "no-such-namespace"); len(keys) > 0 {
		t.Errorf("stored all the same: %v", keys)
	}
}

// TestCreateInTerminatingNamespace holds a namespace by the finalizer of something else in it.
func TestCreateInTerminatingNamespace(t *testing.T) {
	namespace := newNamespace(t)
	configMaps := cluster.Admin.CoreV1().ConfigMaps(namespace)
	hold := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "hold", Finalizers: []string{"example.com/hold"}}}
	if _, err := configMaps.Create(t.Context(), hold, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = configMaps.Patch(context.Background(), "hold", "application/merge-patch+json", []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
	})
	if err := cluster.Admin.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "creating is refused", func(ctx context.Context) error {
		object, _ := newSecureValue("")
		object.GenerateName = "x-"
		_, err := asAdmin(t, namespace).Create(ctx, object, metav1.CreateOptions{})
		if apierrors.IsForbidden(err) && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		return fmt.Errorf("want 403 with cause %s: %w", corev1.NamespaceTerminatingCause, errors.Join(err, errors.New("answered")))
	})
}

// TestIncident14NamespaceDeletionRemovesValues looks into etcd itself.
func TestIncident14NamespaceDeletionRemovesValues(t *testing.T) {
	namespace, neighbour := newNamespace(t), newNamespace(t)
	for _, name := range []string{"a", "b", "c"} {
		create(t, namespace, name)
	}
	create(t, neighbour, "a")
	if keys := records(t, namespace); len(keys) != 3 {
		t.Fatalf("want 3 records, got %v", keys)
	}
	deleteNamespace(t, namespace)
	if keys := records(t, namespace); len(keys) > 0 {
		t.Errorf("left in etcd: %v", keys)
	}
	if keys := records(t, neighbour); len(keys) != 1 {
		t.Errorf("of the neighbour: %v", keys)
	}
}

// TestNamespaceWithHeldValue deletes a namespace with a value that a finalizer holds: its ciphertext leaves etcd with
// the delete, it takes no new value, and the namespace goes once the finalizer is removed.
func TestNamespaceWithHeldValue(t *testing.T) {
	namespace := newNamespace(t)
	object, _ := newSecureValue("held")
	object.Finalizers = []string{"example.com/hold"}
	if _, err := asAdmin(t, namespace).Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if sealed := ciphertexts(t, namespace); sealed != 1 {
		t.Fatalf("%d ciphertexts before the delete, want 1", sealed)
	}
	if err := cluster.Admin.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the value is deleted", func(ctx context.Context) error {
		held, err := asAdmin(t, namespace).Get(ctx, "held", metav1.GetOptions{})
		if err == nil && held.DeletionTimestamp == nil {
			err = errors.New("no deletionTimestamp")
		}
		return err
	})
	if keys, sealed := records(t, namespace), ciphertexts(t, namespace); len(keys) != 1 || sealed != 0 {
		t.Errorf("%d records with %d ciphertexts, want one without", len(keys), sealed)
	}
	patch := func(body string) error {
		_, err := asAdmin(t, namespace).Patch(t.Context(), "held", types.MergePatchType, []byte(body), metav1.PatchOptions{})
		return err
	}
	if err := patch(`{"spec":{"value":"` + harness.Canary() + `"}}`); !apierrors.IsConflict(err) {
		t.Errorf("a new value: %v, want 409", err)
	}
	if err := patch(`{"metadata":{"finalizers":null}}`); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace is gone", func(ctx context.Context) error {
		_, err := cluster.Admin.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		return gone(err)
	})
	if keys := records(t, namespace); len(keys) > 0 {
		t.Errorf("left in etcd: %v", keys)
	}
}

// TestCascade deletes with every policy: the garbage collector of the cluster removes the finalizers that it asked for.
func TestCascade(t *testing.T) {
	namespace := newNamespace(t)
	for _, policy := range []string{"foreground", "orphan", "background"} {
		create(t, namespace, policy)
		mustKubectl(t, "", "delete", "securevalue", policy, "-n", namespace, "--cascade="+policy, "--timeout=90s")
	}
	if keys := records(t, namespace); len(keys) > 0 {
		t.Errorf("left in etcd: %v", keys)
	}
}

// deleteNamespace waits until it is gone.
func deleteNamespace(t *testing.T, namespace string) {
	t.Helper()
	if err := cluster.Admin.CoreV1().Namespaces().Delete(t.Context(), namespace, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace is gone", func(ctx context.Context) error {
		left, err := cluster.Admin.CoreV1().Namespaces().Get(ctx, namespace, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there: %v (%w)", left.Status.Conditions, errors.Join(err, errors.New("found")))
	})
}

// TestOwnerGarbageCollection deletes an owner and finds the value gone, in both directions.
func TestOwnerGarbageCollection(t *testing.T) {
	namespace := newNamespace(t)
	configMaps := cluster.Admin.CoreV1().ConfigMaps(namespace)
	owner, err := configMaps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned, _ := newSecureValue("owned")
	owned.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}}
	if _, err := asAdmin(t, namespace).Create(t.Context(), owned, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	above := create(t, namespace, "above")
	below := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "below", OwnerReferences: []metav1.OwnerReference{
		{APIVersion: "secret.grafana.app/v1beta1", Kind: "SecureValue", Name: above.Name, UID: above.UID},
	}}}
	if _, err := configMaps.Create(t.Context(), below, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := configMaps.Delete(t.Context(), "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := asAdmin(t, namespace).Delete(t.Context(), "above", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a value goes with its owner", func(ctx context.Context) error {
		_, err := asAdmin(t, namespace).Get(ctx, "owned", metav1.GetOptions{})
		return gone(err)
	})
	eventually(t, "what a value owns goes with it", func(ctx context.Context) error {
		_, err := configMaps.Get(ctx, "below", metav1.GetOptions{})
		return gone(err)
	})
	if keys := records(t, namespace); len(keys) > 0 {
		t.Errorf("left in etcd: %v", keys)
	}
}

func gone(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("want 404: %w", errors.Join(err, errors.New("answered")))
}
