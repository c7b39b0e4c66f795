// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	crmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/reload"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

// leaseName is the Lease of the leader election.
const leaseName = "secret-controller-manager"

// serviceName is service.name of the controllers' spans.
const serviceName = "secret-controller-manager"

// Run runs the controllers until ctx ends or the Lease is lost.
func Run(ctx context.Context, opts CompletedOptions) error {
	reload.CatchHangup()
	ctrl.SetLogger(klog.Background())
	traces, err := opts.Tracing.Open(ctx, serviceName)
	if err != nil {
		return err
	}
	if traces != nil {
		defer func() { _ = traces.Shutdown(context.WithoutCancel(ctx)) }() // what cannot be sent is logged by itself
	}
	config, err := restConfig(opts.Kubeconfig)
	if err != nil {
		return err
	}
	mgr, err := newManager(config, opts)
	if err != nil {
		return err
	}
	if err := opts.setup(mgr, traces); err != nil {
		return err
	}
	klog.InfoS("Starting the controllers", "leaderElection", opts.LeaderElect)
	return mgr.Start(ctx)
}

func restConfig(kubeconfig string) (*restclient.Config, error) {
	if kubeconfig == "" {
		config, err := restclient.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("no --kubeconfig, and not in a Pod: %w", err)
		}
		return config, nil
	}
	if err := reload.CheckFile(kubeconfig, reload.Credentials); err != nil {
		return nil, fmt.Errorf("reading --kubeconfig: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading --kubeconfig: %w", err)
	}
	return config, nil
}

func newManager(config *restclient.Config, opts CompletedOptions) (ctrl.Manager, error) {
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        newScheme(),
		LeaderElection:                opts.LeaderElect,
		LeaderElectionID:              leaseName,
		LeaderElectionNamespace:       opts.LeaderElectNamespace,
		LeaderElectionReleaseOnCancel: true, // main ends when Run returns
		Metrics:                       metricsserver.Options{BindAddress: opts.MetricsBindAddress},
		HealthProbeBindAddress:        opts.HealthProbeBindAddress,
	})
	if err != nil {
		return nil, fmt.Errorf("preparing the controllers: %w", err)
	}
	_ = crmetrics.Registry.Register(version.BuildInfo()) // a second manager in one process finds it there
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, err
	}
	return mgr, mgr.AddReadyzCheck("ping", healthz.Ping)
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1beta1.AddToScheme(scheme))
	return scheme
}
