// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"testing"

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
