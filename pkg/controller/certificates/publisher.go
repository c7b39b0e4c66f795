// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/internal/pki"
)

const (
	// bundleConfigMap is the ConfigMap with the bundle, with the key bundleKey.
	bundleConfigMap = "secret-ca"
	// namespaceLabel and namespaceAllowed mark the namespaces whose Pods may reach the decrypt port.
	namespaceLabel, namespaceAllowed = secret.GroupName + "/decrypt", "allowed"
	// managedByLabel and managedBy mark an object that this package made.
	managedByLabel, managedBy = "app.kubernetes.io/managed-by", "secret-controller-manager"
)

// Publisher copies the CAs of the caBundle of the APIService to where applications read them: ConfigMap secret-ca of
// every labelled namespace, and a ClusterTrustBundle where that API is served. The caBundle is kept by the Reconciler,
// by cert-manager or by hand. While it holds no CA, nothing changes.
type Publisher struct {
	// Client writes. Reader reads from kube-apiserver without a cache.
	Client client.Client
	Reader client.Reader
	// Namespaces has the metadata of those with the label.
	Namespaces client.Reader
	Events     events.EventRecorder

	// without are labelled namespaces whose ConfigMap is not the bundle.
	without map[string]bool
}

var _ reconcile.Reconciler = (*Publisher)(nil)

// Reconcile publishes in the namespace of the request, or the ClusterTrustBundle if the request has none.
func (p *Publisher) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if request.Namespace == "" {
		return reconcile.Result{RequeueAfter: trustBundleInterval}, p.publishTrustBundle(ctx)
	}
	published, err := p.publishConfigMap(ctx, request.Namespace)
	if published {
		delete(p.without, request.Namespace)
	} else {
		p.without[request.Namespace] = true
	}
	namespacesWithout.Set(float64(len(p.without)))
	return reconcile.Result{}, err
}

// publishConfigMap reports whether the ConfigMap of a namespace is as it should be. It reads the ConfigMap before the
// caBundle: a deposed leader that was paused in between publishes nothing old (models/certificates.pml).
func (p *Publisher) publishConfigMap(ctx context.Context, namespace string) (done bool, err error) {
	stored := &corev1.ConfigMap{}
	err = p.Reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: bundleConfigMap}, stored)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("reading configmap %s/%s: %w", namespace, bundleConfigMap, err)
	}
	exists, own := err == nil, stored.Labels[managedByLabel] == managedBy
	ns := &metav1.PartialObjectMetadata{}
	ns.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	err = p.Namespaces.Get(ctx, client.ObjectKey{Name: namespace}, ns)
	switch {
	case apierrors.IsNotFound(err) && exists && own:
		return true, p.remove(ctx, stored)
	case apierrors.IsNotFound(err) || (err == nil && ns.DeletionTimestamp != nil):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("reading namespace %s: %w", namespace, err)
	case exists && !own:
		p.Events.Eventf(stored, nil, corev1.EventTypeWarning, "CANotPublished", "Publish",
			"somebody else made this ConfigMap, so it is left alone; delete it to get the CA of the decrypt port here")
		log.FromContext(ctx).Info("Left a ConfigMap of somebody else alone", "namespace", namespace)
		return false, nil
	}
	bundle, err := p.bundle(ctx)
	if err != nil || bundle == "" {
		return err == nil, err
	}
	data := map[string]string{bundleKey: bundle}
	if exists && maps.Equal(stored.Data, data) && len(stored.BinaryData) == 0 {
		return true, nil
	}
	if stored.Immutable != nil && *stored.Immutable {
		return false, p.remove(ctx, stored) // and is back in a moment, by the event
	}
	stored.Namespace, stored.Name = namespace, bundleConfigMap
	stored.Data, stored.BinaryData = data, nil
	metav1.SetMetaDataLabel(&stored.ObjectMeta, managedByLabel, managedBy)
	write := func() error { return p.Client.Create(ctx, stored) }
	if exists {
		write = func() error { return p.Client.Update(ctx, stored) }
	}
	if err := write(); err != nil {
		return false, fmt.Errorf("writing configmap %s/%s: %w", namespace, bundleConfigMap, err)
	}
	log.FromContext(ctx).V(2).Info("Published the CA bundle", "namespace", namespace)
	return true, nil
}

// remove deletes a ConfigMap if it is still the one that was read.
func (p *Publisher) remove(ctx context.Context, stored *corev1.ConfigMap) error {
	same := client.Preconditions{UID: &stored.UID, ResourceVersion: &stored.ResourceVersion}
	if err := client.IgnoreNotFound(p.Client.Delete(ctx, stored, same)); err != nil {
		return fmt.Errorf("deleting configmap %s/%s: %w", stored.Namespace, stored.Name, err)
	}
	return nil
}

// bundle returns the CAs of the caBundle, each once and without PEM headers, or nothing.
func (p *Publisher) bundle(ctx context.Context) (string, error) {
	service := &apiregistrationv1.APIService{}
	if err := p.Reader.Get(ctx, client.ObjectKey{Name: apiService}, service); err != nil {
		return "", fmt.Errorf("reading APIService %s: %w", apiService, err)
	}
	cas := parseBundle(service.Spec.CABundle)
	for i := len(cas) - 1; i > 0; i-- {
		if contains(cas[:i], cas[i]) {
			cas = append(cas[:i], cas[i+1:]...)
		}
	}
	return string(pki.Encode(cas...)), nil
}

// addPublisher adds the controller of the Publisher. Its caches hold metadata: of the namespaces with the label, and of
// the ConfigMaps with its name.
func addPublisher(mgr manager.Manager) error {
	const name = "ca-publisher"
	p := &Publisher{
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Events: mgr.GetEventRecorder(name),
		without: map[string]bool{},
	}
	c, err := controller.New(name, mgr, controller.Options{Reconciler: p}) // one worker: without has no lock
	if err != nil {
		return err
	}
	namespaceKind := metadata(corev1.SchemeGroupVersion.WithKind("Namespace"), "", "")
	configMap := metadata(corev1.SchemeGroupVersion.WithKind("ConfigMap"), "", bundleConfigMap)
	service := metadata(apiregistrationv1.SchemeGroupVersion.WithKind("APIService"), "", apiService)
	byName := func(o client.Object) cache.ByObject {
		return cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", o.GetName())}
	}
	byLabel := cache.ByObject{Label: labels.SelectorFromSet(labels.Set{namespaceLabel: namespaceAllowed})}
	namespaces, err := watch(mgr, c, namespaceKind, byLabel,
		func(_ context.Context, o *metav1.PartialObjectMetadata) []reconcile.Request { return in(o.Name) })
	if err != nil {
		return err
	}
	p.Namespaces = namespaces
	if _, err := watch(mgr, c, configMap, byName(configMap),
		func(_ context.Context, o *metav1.PartialObjectMetadata) []reconcile.Request { return in(o.Namespace) },
	); err != nil {
		return err
	}
	if _, err := watch(mgr, c, service, byName(service), p.everywhere); err != nil {
		return err
	}
	return c.Watch(first)
}

func in(namespace string) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: namespace}}}
}

// everywhere are the requests after a change of the bundle.
func (p *Publisher) everywhere(ctx context.Context, _ *metav1.PartialObjectMetadata) []reconcile.Request {
	requests := []reconcile.Request{{}}
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := p.Namespaces.List(ctx, list); err != nil {
		log.FromContext(ctx).Error(err, "Listing the namespaces to publish the CA in")
	}
	for i := range list.Items {
		requests = append(requests, in(list.Items[i].Name)...)
	}
	return requests
}
