// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

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

// TestEtcdOutage stops our etcd: the cluster must not suffer from it, and afterwards everything must be there.
func TestEtcdOutage(t *testing.T) {
	namespace, other := newNamespace(t), newNamespace(t)
	create(t, namespace, "held")
	if err := server.StopEtcd(); err != nil {
		t.Fatal(err)
	}
	started := false
	startEtcd := func() {
		if !started {
			started = true
			if err := server.StartEtcdAgain(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Cleanup(startEtcd)

	for range 20 {
		resources, err := cluster.Admin.Discovery().ServerResourcesForGroupVersion("secret.grafana.app/v1beta1")
		if err != nil || len(resources.APIResources) == 0 {
			t.Fatalf("discovery: %v (%v)", resources, err)
		}
	}
	if stdout, stderr, err := kubectl(t, "", "get", "configmaps", "-n", other); err != nil {
		t.Errorf("kubectl for something else: %v\n%s%s", err, stdout, stderr)
	}
	object, _ := newSecureValue("during")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := asAdmin(t, namespace).Create(ctx, object, metav1.CreateOptions{})
	t.Logf("a write during the outage: %v", err)
	if err == nil {
		t.Error("a write during the outage was acknowledged")
	}
	_ = cluster.Admin.CoreV1().Namespaces().Delete(t.Context(), other, metav1.DeleteOptions{})
	time.Sleep(45 * time.Second)
	n, err := cluster.Admin.CoreV1().Namespaces().Get(t.Context(), other, metav1.GetOptions{})
	t.Logf("%+v %v", n.Status, err)
	out, err := command(t.Context(), "bin/kubectl", "--kubeconfig="+cluster.Kubeconfig, "get", "--raw", "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.secret.grafana.app")
	t.Logf("%s %v", out, err)
	for _, path := range []string{"/readyz?verbose", "/livez?verbose"} {
		for _, r := range server.Replicas {
			a, err := send(t, r.URL+path, server.CA, nil, "", nil)
			t.Log(path, a, err)
		}
	}

	startEtcd()
	eventually(t, "the value is served again", func(ctx context.Context) error {
		_, err := asAdmin(t, namespace).Get(ctx, "held", metav1.GetOptions{})
		return err
	})
	for _, replica := range server.Replicas {
		if err := server.AwaitReady(t.Context(), replica); err != nil {
			t.Error(err)
		}
	}
}
