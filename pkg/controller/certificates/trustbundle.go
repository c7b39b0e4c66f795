// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

const (
	// trustBundleSigner is the signer of the serving CA, trustBundle its ClusterTrustBundle: the prefix is required.
	trustBundleSigner = secret.GroupName + "/serving"
	trustBundle       = secret.GroupName + ":serving:ca"
	// trustBundleInterval is the time between repairs: a watch would need an API that not every cluster serves.
	trustBundleInterval = 10 * time.Minute
)

// publishTrustBundle creates or repairs the ClusterTrustBundle with the newest version of its API that is served. It
// reads it before the caBundle, as publishConfigMap does.
func (p *Publisher) publishTrustBundle(ctx context.Context) error {
	stored := &unstructured.Unstructured{} // one code for both versions
	for _, version := range []string{"v1", "v1beta1"} {
		stored.SetAPIVersion(certificatesv1.GroupName + "/" + version)
		stored.SetKind("ClusterTrustBundle")
		err := p.Reader.Get(ctx, client.ObjectKey{Name: trustBundle}, stored)
		if meta.IsNoMatchError(err) {
			continue
		}
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("reading clustertrustbundle %s: %w", trustBundle, err)
		}
		return p.writeTrustBundle(ctx, stored, err == nil)
	}
	return nil // not served
}

func (p *Publisher) writeTrustBundle(ctx context.Context, stored *unstructured.Unstructured, exists bool) error {
	bundle, err := p.bundle(ctx)
	if before, _, _ := unstructured.NestedString(stored.Object, "spec", "trustBundle"); err != nil || bundle == "" ||
		bundle == before {
		return err
	}
	write := func() error { return p.Client.Create(ctx, stored) }
	if exists {
		write = func() error { return p.Client.Update(ctx, stored) }
	}
	stored.SetName(trustBundle)
	stored.SetLabels(map[string]string{managedByLabel: managedBy})
	stored.Object["spec"] = map[string]any{"signerName": trustBundleSigner, "trustBundle": bundle}
	if err := write(); err != nil {
		return fmt.Errorf("writing clustertrustbundle %s: %w", trustBundle, err)
	}
	log.FromContext(ctx).Info("Published the CA bundle", "clusterTrustBundle", trustBundle)
	return nil
}
