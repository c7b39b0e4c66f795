// SPDX-License-Identifier: Apache-2.0

package deployment

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"github.com/securevalue/secret-apiserver/hack/e2e/pki"
)

// APIService is the name of our registration.
const APIService = "v1beta1.secret.grafana.app"

// register points the Service that deploy/ ships at this machine, and gives the APIService a caBundle.
func (d *Deployment) register(ctx context.Context) error {
	services := d.config.ControlPlane.Admin.CoreV1().Services(Namespace)
	err := services.Delete(ctx, Name, metav1.DeleteOptions{}) // what deploy/ ships routes to Pods
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if _, err := services.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: Name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}, metav1.CreateOptions{}); err != nil {
		return err
	}
	return d.SetCABundle(ctx, d.CA)
}

// SetCABundle makes these the CAs that the aggregator checks our certificate against.
func (d *Deployment) SetCABundle(ctx context.Context, cas ...*pki.CA) error {
	var bundle []byte
	for _, ca := range cas {
		bundle = append(bundle, ca.PEM()...)
	}
	client, err := aggregator.NewForConfig(d.config.ControlPlane.AdminConfig())
	if err != nil {
		return err
	}
	apiServices := client.ApiregistrationV1().APIServices()
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		shipped, err := apiServices.Get(ctx, APIService, metav1.GetOptions{})
		if err != nil {
			return err
		}
		shipped.Spec.CABundle = bundle
		shipped.Spec.Service.Port = new(int32(d.port)) //nolint:gosec // a port
		_, err = apiServices.Update(ctx, shipped, metav1.UpdateOptions{})
		return err
	})
}

// AwaitAvailable waits until kube-apiserver says that it can reach us.
func (d *Deployment) AwaitAvailable(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	client, err := aggregator.NewForConfig(d.config.ControlPlane.AdminConfig())
	if err != nil {
		return err
	}
	var last string
	for {
		service, err := client.ApiregistrationV1().APIServices().Get(ctx, APIService, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("%s is not available (%s): %w", APIService, last, err)
		}
		for _, condition := range service.Status.Conditions {
			if condition.Type == apiregistrationv1.Available && condition.Status == apiregistrationv1.ConditionTrue {
				return nil
			}
			last = condition.Message
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not available: %s", APIService, last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// keys are made once by name: a key that comes back must be the same.
var keys = map[string]string{}

// WriteKeys makes these the keys of the EncryptionConfiguration, the first one for writes; the replicas reload it.
func (d *Deployment) WriteKeys(names ...string) error {
	var list []string
	for _, name := range names {
		if keys[name] == "" {
			key := make([]byte, 32)
			_, _ = rand.Read(key) // never fails
			keys[name] = base64.StdEncoding.EncodeToString(key)
		}
		list = append(list, fmt.Sprintf("{name: %s, secret: %s}", name, keys[name]))
	}
	return pki.WriteFile(d.EncryptionFile, fmt.Appendf(nil, `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [securevalues.secret.grafana.app]
  providers:
  - aesgcm: {keys: [%s]}
`, strings.Join(list, ", ")))
}
