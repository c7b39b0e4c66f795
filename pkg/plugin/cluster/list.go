// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	typedv1beta1 "github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned/typed/secret/v1beta1"
)

// completionTimeout bounds how long a shell waits for names, in seconds.
const completionTimeout = 5

// Each hands every secure value to visit, page by page, and returns the resourceVersion of the list. total is how many there are
// in all as far as the server has told.
func Each(ctx context.Context, client typedv1beta1.SecureValueInterface, options metav1.ListOptions, visit func(sv *v1beta1.SecureValue, total int64)) (string, error) {
	options.Limit = PageSize
	for seen := int64(0); ; {
		page, err := client.List(ctx, options)
		if err != nil {
			return "", err
		}
		total := seen + int64(len(page.Items))
		if page.RemainingItemCount != nil {
			total += *page.RemainingItemCount
		}
		for i := range page.Items {
			visit(&page.Items[i], total)
		}
		seen += int64(len(page.Items))
		if page.Continue == "" {
			return page.ResourceVersion, nil
		}
		options.Continue = page.Continue
	}
}

// names lists the names that begin with prefix. A shell has no use for an error.
func names(ctx context.Context, client typedv1beta1.SecureValueInterface, prefix string) []string {
	return collect(ctx, client, func(sv *v1beta1.SecureValue) []string {
		if strings.HasPrefix(sv.Name, prefix) {
			return []string{sv.Name}
		}
		return nil
	})
}

// decrypters lists the decrypters of all values, repeated as often as they occur.
func decrypters(ctx context.Context, client typedv1beta1.SecureValueInterface) []string {
	return collect(ctx, client, func(sv *v1beta1.SecureValue) []string { return sv.Spec.Decrypters })
}

func collect(ctx context.Context, client typedv1beta1.SecureValueInterface, of func(*v1beta1.SecureValue) []string) []string {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout*time.Second)
	defer cancel()
	var found []string
	_, _ = Each(ctx, client, metav1.ListOptions{}, func(sv *v1beta1.SecureValue, _ int64) { found = append(found, of(sv)...) })
	return found
}
