// SPDX-License-Identifier: Apache-2.0

package importing

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/sensitive"
	"github.com/securevalue/secret-apiserver/pkg/plugin/cluster"
)

// generatedTypes are Secrets that programs make for themselves and keep up to date.
var generatedTypes = map[corev1.SecretType]bool{
	corev1.SecretTypeServiceAccountToken: true,
	corev1.SecretTypeBootstrapToken:      true,
	"helm.sh/release.v1":                 true,
}

// fromSecrets makes an entry of each key of the Secrets that a selector selects.
func fromSecrets(ctx context.Context, client typedcorev1.SecretInterface, selector string) ([]entry, error) {
	var entries []entry
	options := metav1.ListOptions{LabelSelector: selector, Limit: cluster.PageSize}
	for {
		page, err := client.List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("listing Secrets: %w%s", err, secretsHint(err))
		}
		for i := range page.Items {
			entries = append(entries, ofSecret(&page.Items[i])...)
		}
		if page.Continue == "" {
			return entries, nil
		}
		options.Continue = page.Continue
	}
}

func ofSecret(s *corev1.Secret) []entry {
	if generatedTypes[s.Type] {
		return []entry{{origin: s.Name, leftOut: fmt.Sprintf("Secrets of type %s are made by a program", s.Type)}}
	}
	var entries []entry
	for _, key := range slices.Sorted(maps.Keys(s.Data)) {
		entries = append(entries, entry{origin: s.Name + "/" + key, value: sensitive.Value(s.Data[key])})
	}
	return entries
}

func secretsHint(err error) string {
	switch {
	case apierrors.IsForbidden(err):
		return "; who moves Secrets has to be allowed to read them"
	case apierrors.IsNotFound(err):
		return "; a standalone server has no Secrets: name the cluster that has them with --source-kubeconfig or --source-context"
	}
	return ""
}
