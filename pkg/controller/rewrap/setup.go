// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"context"
	"fmt"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/runtime"
	restclient "k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	crmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
)

// name names the controller in logs, metrics and the user agent.
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
	// The watch brings every write of every value: in JSON it would cost the server as much as some writes.
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

// setup adds what runs to the manager: the count of values, the probe and the controller.
func (r *reconciler) setup(mgr ctrl.Manager, opts Options) error {
	p := &prober{reconciler: r, interval: opts.ProbeInterval, tally: r.metrics.tally}
	informer, err := mgr.GetCache().GetInformer(context.Background(), &v1beta1.SecureValue{}) // does not wait before the start
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
	config.QPS = -1 // the controller has a limit of its own
	config.UserAgent = restclient.DefaultKubernetesUserAgent() + "/" + name
	config.ContentType = runtime.ContentTypeProtobuf
	client, err := versioned.NewForConfigAndClient(config, mgr.GetHTTPClient())
	if err != nil {
		return nil, err
	}
	return &server{client: client.SecretV1beta1()}, nil
}
