// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// SetupWithManager adds a controller for each authority of the options. They run on the leader only.
func SetupWithManager(mgr manager.Manager, opts Options) error {
	if err := apiregistrationv1.AddToScheme(mgr.GetScheme()); err != nil {
		return fmt.Errorf("registering APIService: %w", err)
	}
	for _, name := range opts.Authorities {
		if err := add(mgr, opts.Lifetimes, authorities[name](opts.Namespace)); err != nil {
			return fmt.Errorf("adding the controller of the %s certificates: %w", name, err)
		}
	}
	if !opts.Publish {
		return nil
	}
	if err := addPublisher(mgr); err != nil {
		return fmt.Errorf("adding the controller that publishes the CA: %w", err)
	}
	return nil
}

func add(mgr manager.Manager, lifetimes Lifetimes, authority Authority) error {
	name := "certificates-" + authority.Name
	c, err := controller.New(name, mgr, controller.Options{Reconciler: &Reconciler{
		Authority: authority, Lifetimes: lifetimes,
		Client: mgr.GetClient(), Reader: mgr.GetAPIReader(), Prober: EndpointProber{Reader: mgr.GetAPIReader()},
		Events: mgr.GetEventRecorder(name), Clock: clock.RealClock{},
	}})
	if err != nil {
		return err
	}
	if err := c.Watch(first); err != nil {
		return err
	}
	toOne := func(context.Context, *metav1.PartialObjectMetadata) []reconcile.Request {
		return []reconcile.Request{{}}
	}
	for _, object := range authority.watched() {
		by := cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", object.Name)}
		if object.Namespace != "" {
			by.Namespaces = map[string]cache.Config{object.Namespace: {}}
		}
		if _, err := watch(mgr, c, object, by, toOne); err != nil {
			return err
		}
	}
	return nil
}

// first is one request at the start: without any of the objects there is not an event yet.
var first = source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	queue.Add(reconcile.Request{})
	return nil
})

// watched are the objects whose edits are repaired immediately. The cache keeps their metadata only: no private key.
func (a Authority) watched() []*metav1.PartialObjectMetadata {
	secrets := []string{a.CASecret}
	for _, c := range a.Certificates {
		secrets = append(secrets, c.Secret)
	}
	var objects []*metav1.PartialObjectMetadata
	for _, name := range secrets {
		objects = append(objects, metadata(corev1.SchemeGroupVersion.WithKind("Secret"), a.Namespace, name))
	}
	if a.APIService != "" {
		kind := apiregistrationv1.SchemeGroupVersion.WithKind("APIService")
		objects = append(objects, metadata(kind, "", a.APIService))
	}
	return objects
}

func metadata(kind schema.GroupVersionKind, namespace, name string) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	object.SetGroupVersionKind(kind)
	return object
}

// watch watches the selected objects of a kind with a separate cache, which it returns: RBAC can then allow one name.
func watch(mgr manager.Manager, c controller.Controller, kind *metav1.PartialObjectMetadata, by cache.ByObject,
	toRequests handler.TypedMapFunc[*metav1.PartialObjectMetadata, reconcile.Request]) (cache.Cache, error) {
	by.Transform = slim
	selected, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{kind: by},
	})
	if err != nil {
		return nil, err
	}
	if err := mgr.Add(selected); err != nil {
		return nil, err
	}
	return selected, c.Watch(source.Kind(selected, kind, handler.TypedEnqueueRequestsFromMapFunc(toRequests)))
}

// slim drops what may be large and is not looked at.
func slim(object any) (any, error) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
		o.SetAnnotations(nil)
	}
	return object, nil
}

var (
	expiry = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "secret_certificate_expiry_timestamp_seconds",
		Help: "Expiry of a certificate of the own CA, by the Secret that contains it.",
	}, []string{"secret"})
	bundleSize = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "secret_ca_bundle_certificates",
		Help: "CAs in the published bundle, by authority. More than one until a replaced CA expires.",
	}, []string{"authority"})
	signingStart = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "secret_ca_signing_start_timestamp_seconds",
		Help: "When the new CA of an authority starts to issue certificates. 0 while none waits in the bundle.",
	}, []string{"authority"})
	namespacesWithout = prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "secret_ca_unpublished_namespaces",
		Help: "Namespaces with the label " + namespaceLabel + " whose ConfigMap " + bundleConfigMap +
			" could not be written or was made by somebody else.",
	})
)

func init() { metrics.Registry.MustRegister(expiry, bundleSize, signingStart, namespacesWithout) }

// observe sets the metrics.
func (r *Reconciler) observe(s state, now time.Time) {
	start := 0.0
	if s.waits(now, r.Lifetimes.Propagation) {
		start = float64(s.published.Add(r.Lifetimes.Propagation).Unix())
	}
	signingStart.WithLabelValues(r.Authority.Name).Set(start)
	expiry.WithLabelValues(r.Authority.CASecret).Set(float64(s.signer.cert.NotAfter.Unix()))
	for i, leaf := range s.leaves {
		expiry.WithLabelValues(r.Authority.Certificates[i].Secret).Set(float64(leaf.cert.NotAfter.Unix()))
	}
	bundleSize.WithLabelValues(r.Authority.Name).Set(float64(len(s.trusted)))
}
