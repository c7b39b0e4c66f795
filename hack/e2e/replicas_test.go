// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
)

// TestReadYourWrites writes through one replica and reads through the other, at once and without luck.
func TestReadYourWrites(t *testing.T) {
	namespace := newNamespace(t)
	token := newServiceAccount(t, namespace, "admin")
	bind(t, namespace, "admin", "ClusterRole", "secret.grafana.app:securevalues-admin")
	first, second := secureValues(t, direct(token, 0), namespace), secureValues(t, direct(token, 1), namespace)
	eventually(t, "both answer", func(ctx context.Context) error {
		_, err := first.List(ctx, metav1.ListOptions{})
		if err == nil {
			_, err = second.List(ctx, metav1.ListOptions{})
		}
		return err
	})
	for round := range 20 {
		writer, reader := first, second
		if round%2 == 1 {
			writer, reader = second, first
		}
		object, _ := newSecureValue(fmt.Sprintf("x-%d", round))
		created, err := writer.Create(t.Context(), object, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		read, err := reader.Get(t.Context(), created.Name, metav1.GetOptions{})
		if err != nil || read.ResourceVersion != created.ResourceVersion {
			t.Fatalf("get after create: %v (%v)", read, err)
		}
		read.Spec.Value = sensitive.New("changed")
		updated, err := reader.Update(t.Context(), read, metav1.UpdateOptions{})
		if err != nil {
			t.Fatalf("update through the other: %v", err)
		}
		list, err := writer.List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 || list.Items[0].ResourceVersion != updated.ResourceVersion {
			t.Fatalf("list after update: %v (%v)", list, err)
		}
		if err := writer.Delete(t.Context(), created.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := reader.Get(t.Context(), created.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Fatalf("get after delete: %v", err)
		}
	}
}

// TestRollingRestart replaces one replica after the other while clients work.
func TestRollingRestart(t *testing.T) {
	l := startLoad(t)
	l.settle()
	for _, replica := range server.Replicas {
		if err := server.Restart(t.Context(), replica); err != nil {
			t.Fatal(err)
		}
		l.settle()
	}
	if err := server.AwaitAvailable(t.Context()); err != nil {
		t.Error(err)
	}
	l.finish()
}

// TestBothReplicasCrash shows that the cluster finds us again by itself.
func TestBothReplicasCrash(t *testing.T) {
	namespace := newNamespace(t)
	create(t, namespace, "held")
	for _, replica := range server.Replicas {
		replica.Kill()
	}
	for _, replica := range server.Replicas {
		if err := replica.Start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, replica := range server.Replicas {
		if err := server.AwaitReady(t.Context(), replica); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the value is served again", func(ctx context.Context) error {
		_, err := asAdmin(t, namespace).Get(ctx, "held", metav1.GetOptions{})
		return err
	})
	eventually(t, "the APIService is available again", server.AwaitAvailable)
}

// outage is how long our etcd stays away: long enough for kube-apiserver to check our availability again.
const outage = 40 * time.Second

// TestEtcdOutage stops our etcd: the rest of the cluster must not notice, and afterwards everything must be there.
func TestEtcdOutage(t *testing.T) {
	namespace, other := newNamespace(t), newNamespace(t)
	create(t, namespace, "held")
	configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}
	if _, err := cluster.Admin.CoreV1().ConfigMaps(other).Create(t.Context(), configMap, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := server.StopEtcd(); err != nil {
		t.Fatal(err)
	}
	restart := startEtcdOnce(t)
	t.Cleanup(restart)

	if err := cluster.Admin.CoreV1().Namespaces().Delete(t.Context(), other, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(outage); time.Now().Before(end); {
		expectCalm(t)
	}
	expectContentGone(t, other)
	refuseWrites(t, namespace)

	restart()
	eventually(t, "the value is served again", func(ctx context.Context) error {
		_, err := asAdmin(t, namespace).Get(ctx, "held", metav1.GetOptions{})
		return err
	})
	eventually(t, "a value is written again", func(ctx context.Context) error {
		object, _ := newSecureValue("after")
		_, err := asAdmin(t, namespace).Create(ctx, object, metav1.CreateOptions{})
		return err
	})
	eventually(t, "the namespace that was deleted meanwhile is gone", func(ctx context.Context) error {
		_, err := cluster.Admin.CoreV1().Namespaces().Get(ctx, other, metav1.GetOptions{})
		return gone(err)
	})
}

// startEtcdOnce returns a function that starts etcd the first time that it is called.
func startEtcdOnce(t *testing.T) func() {
	t.Helper()
	started := false
	return func() {
		if started {
			return
		}
		started = true
		if err := server.StartEtcdAgain(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

// expectCalm looks at what an unavailable APIService would break for everybody: discovery, and with it the deletion of
// namespaces, garbage collection, helm.
func expectCalm(t *testing.T) {
	t.Helper()
	resources, err := cluster.Admin.Discovery().ServerResourcesForGroupVersion("secret.grafana.app/v1beta1")
	if err != nil || len(resources.APIResources) == 0 {
		t.Fatalf("discovery of our group: %v (%v)", resources, err)
	}
	if stdout, stderr, err := kubectl(t, "", "api-resources", "-o", "name"); err != nil || !strings.Contains(stdout, "securevalues.secret.grafana.app") {
		t.Fatalf("discovery of the cluster: %v\n%s", err, stderr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := server.AwaitAvailable(ctx); err != nil {
		t.Fatal(err)
	}
}

// expectContentGone shows how far the deletion of a namespace comes: all is gone but the namespace itself. Nothing else
// than our etcd can know that it holds no values, and a leftover would outlive its namespace.
func expectContentGone(t *testing.T, namespace string) {
	t.Helper()
	eventually(t, "the rest of the namespace is gone", func(ctx context.Context) error {
		_, err := cluster.Admin.CoreV1().ConfigMaps(namespace).Get(ctx, "x", metav1.GetOptions{})
		return gone(err)
	})
	if _, err := cluster.Admin.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{}); err != nil {
		t.Errorf("the namespace went though nobody could look for its values: %v", err)
	}
}

// refuseWrites shows that nothing is acknowledged that is not stored.
func refuseWrites(t *testing.T, namespace string) {
	t.Helper()
	object, _ := newSecureValue("during")
	_, err := asAdmin(t, namespace).Create(t.Context(), object, metav1.CreateOptions{})
	if err == nil || apierrors.ReasonForError(err) == metav1.StatusReasonUnknown {
		t.Errorf("a write during the outage: %v", err)
	}
	t.Log(fmt.Errorf("a write during the outage: %w", err))
}
