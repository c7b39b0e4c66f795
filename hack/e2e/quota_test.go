// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

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
