// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	restclient "k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// Run runs the controller in the process of a standalone server until ctx ends: without leader election, for the lock of
// the data folder sees to that, and without events, for there is nothing to keep them. Its metrics are the server's.
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
