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
	// Without any of the objects there is not an event yet.
	if err := c.Watch(source.Func(func(_ context.Context,
		queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(reconcile.Request{})
		return nil
	})); err != nil {
		return err
	}
	for _, object := range authority.watched() {
		if err := watch(mgr, c, object); err != nil {
			return err
		}
	}
	return nil
}

// watched are the objects whose edits are repaired immediately. The cache keeps their metadata only: no private key.
func (a Authority) watched() []*metav1.PartialObjectMetadata {
	secrets := []string{a.CASecret}
	for _, c := range a.Certificates {
		secrets = append(secrets, c.Secret)
	}
	var objects []*metav1.PartialObjectMetadata
	for _, name := range secrets {
		object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: a.Namespace, Name: name}}
		object.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Secret"))
		objects = append(objects, object)
	}
	if a.APIService != "" {
		object := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: a.APIService}}
		object.SetGroupVersionKind(apiregistrationv1.SchemeGroupVersion.WithKind("APIService"))
		objects = append(objects, object)
	}
	return objects
}

// watch watches one object with a separate cache: RBAC can then allow this name only.
func watch(mgr manager.Manager, c controller.Controller, object *metav1.PartialObjectMetadata) error {
	by := cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", object.Name)}
	if object.Namespace != "" {
		by.Namespaces = map[string]cache.Config{object.Namespace: {}}
	}
	one, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{object: by},
	})
	if err != nil {
		return err
	}
	if err := mgr.Add(one); err != nil {
		return err
	}
	toOne := handler.TypedEnqueueRequestsFromMapFunc(func(context.Context,
		*metav1.PartialObjectMetadata) []reconcile.Request {
		return []reconcile.Request{{}}
	})
	return c.Watch(source.Kind(one, object, toOne))
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
)

func init() { metrics.Registry.MustRegister(expiry, bundleSize, signingStart) }

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
