// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	restclient "k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	crmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
)

// name of the controller in logs, metrics and the user agent.
const name = "securevalue-rewrap"

// SetupWithManager adds the controller to a manager of a cluster, whose cache should be made with CacheOptions.
func SetupWithManager(mgr ctrl.Manager, opts Options) error {
	r, err := newReconciler(mgr, opts, events{recorder: mgr.GetEventRecorder(name)})
	if err != nil {
		return err
	}
	if err := crmetrics.Registry.Register(r.metrics); err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	return r.setup(mgr, opts)
}

func newReconciler(mgr ctrl.Manager, opts Options, events events) (*reconciler, error) {
	// The watch sends every write of every value: in JSON it would cost the server as much as some writes.
	if err := apiutil.AddToProtobufScheme(v1beta1.AddToScheme); err != nil {
		return nil, fmt.Errorf("watching securevalues in protobuf: %w", err)
	}
	server, err := newServer(mgr)
	if err != nil {
		return nil, err
	}
	clock := clock.RealClock{}
	r := &reconciler{
		cache: mgr.GetClient(), server: server, events: events,
		keys: newKeyTracker(opts.SettleTime, clock), failures: newFailures(), gate: &gate{clock: clock},
		limiter: rate.NewLimiter(rate.Limit(opts.QPS), max(1, opts.Concurrency)), otherKey: opts.ProbeInterval,
	}
	r.metrics = newMetrics(newTally(), r.keys, r.failures)
	return r, nil
}

// setup adds the count of values, the prober and the controller to the manager.
func (r *reconciler) setup(mgr ctrl.Manager, opts Options) error {
	p := &prober{reconciler: r, interval: opts.ProbeInterval, tally: r.metrics.tally}
	// does not block before the start
	informer, err := mgr.GetCache().GetInformer(context.Background(), &v1beta1.SecureValue{})
	if err != nil {
		return fmt.Errorf("watching securevalues: %w", err)
	}
	if _, err := informer.AddEventHandler(p.tally); err != nil {
		return fmt.Errorf("watching securevalues: %w", err)
	}
	if err := mgr.Add(p); err != nil {
		return err
	}
	return builder.ControllerManagedBy(mgr).
		Named(name).
		For(&v1beta1.SecureValue{}, builder.WithPredicates(predicate.NewPredicateFuncs(r.stale))).
		WatchesRawSource(source.Func(p.keepQueue)).
		WithOptions(controller.Options{MaxConcurrentReconciles: opts.Concurrency, SkipNameValidation: new(true)}).
		Complete(r)
}

func newServer(mgr ctrl.Manager) (*server, error) {
	config := restclient.CopyConfig(mgr.GetConfig())
	config.QPS = -1 // the controller has its own limit
	config.UserAgent = restclient.DefaultKubernetesUserAgent() + "/" + name
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := versioned.NewForConfigAndClient(config, mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	return &server{client: client.SecretV1beta1()}, nil
}

// Run runs the controller in the process of a standalone server until ctx ends. It needs no leader election, since the
// data folder is locked, and has no events, since the server has no Event objects. Its metrics are the server's.
func Run(ctx context.Context, config *restclient.Config, opts Options) error {
	ctrl.SetLogger(klog.Background())
	scheme := runtime.NewScheme()
	utilruntime.Must(v1beta1.AddToScheme(scheme))
	config = restclient.CopyConfig(config)
	config.DisableCompression = true // the watch does not leave this process
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Cache:                  CacheOptions(),
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0",
	})
	if err != nil {
		return fmt.Errorf("preparing the rewrap controller: %w", err)
	}
	r, err := newReconciler(mgr, opts, events{})
	if err != nil {
		return err
	}
	if err := r.setup(mgr, opts); err != nil { //nolint:contextcheck // it gets its context at the start
		return fmt.Errorf("setting up the rewrap controller: %w", err)
	}
	registerRelay()
	inProcess.current.Store(r.metrics)
	defer inProcess.current.Store(nil)
	return mgr.Start(ctx)
}

// CacheOptions returns the options of a manager's cache for this controller.
func CacheOptions() cache.Options {
	return cache.Options{
		ByObject:                 map[client.Object]cache.ByObject{&v1beta1.SecureValue{}: {Transform: slim}},
		DefaultWatchErrorHandler: watchError,
	}
}

// watchError ignores the end of a watch when this process stops.
func watchError(ctx context.Context, r *toolscache.Reflector, err error) {
	if ctx.Err() == nil {
		toolscache.DefaultWatchErrorHandler(ctx, r, err)
	}
}

// slim keeps the identity of an object and the name of its key, as it may be logged: a hundred thousand of them are
// some tens of megabytes.
func slim(obj any) (any, error) {
	sv, ok := obj.(*v1beta1.SecureValue)
	if !ok {
		return obj, nil
	}
	return &v1beta1.SecureValue{
		TypeMeta: sv.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{
			Namespace: sv.Namespace, Name: sv.Name, UID: sv.UID, ResourceVersion: sv.ResourceVersion,
			DeletionTimestamp: sv.DeletionTimestamp,
		},
		Status: v1beta1.SecureValueStatus{Key: secret.ShowKey(sv.Status.Key)},
	}, nil
}
