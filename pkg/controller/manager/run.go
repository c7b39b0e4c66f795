// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	componenttracing "k8s.io/component-base/tracing"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
	crmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/controller/certificates"
	"github.com/securevalue/secret-apiserver/pkg/controller/rewrap"
	"github.com/securevalue/secret-apiserver/pkg/reload"
	"github.com/securevalue/secret-apiserver/pkg/tracing"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

// leaseName is the Lease of the leader election.
const leaseName = "secret-controller-manager"

// serviceName is service.name of the controllers' spans.
const serviceName = "secret-controller-manager"

// run runs the controllers until ctx ends or the Lease is lost.
func run(ctx context.Context, opts *Options) error {
	reload.CatchHangup()
	ctrl.SetLogger(klog.Background())
	traces, err := opts.Tracing.Open(ctx, serviceName)
	if err != nil {
		return err
	}
	if traces != nil {
		defer func() { _ = traces.Shutdown(context.WithoutCancel(ctx)) }() // failures are logged
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

func newManager(config *restclient.Config, opts *Options) (ctrl.Manager, error) {
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

// setup adds the controllers.
func (o *Options) setup(mgr ctrl.Manager, traces tracing.Provider) error {
	if err := certificates.SetupWithManager(mgr, o.Certificates); err != nil {
		return fmt.Errorf("setting up the own CA: %w", err)
	}
	return mgr.Add(whenServed{config: traced(mgr.GetConfig(), traces), rewrap: o.Rewrap})
}

// traced traces the controllers that watch secure values, but not the Lease, whose renewals would hide their traces.
func traced(config *restclient.Config, traces tracing.Provider) *restclient.Config {
	if traces == nil {
		return config
	}
	config = restclient.CopyConfig(config)
	config.Wrap(componenttracing.WrapperFor(traces))
	return config
}

// servedPoll is the interval of checks whether the API is served.
const servedPoll = 5 * time.Second

// whenServed runs the controllers that watch secure values, once their API is served. They have a separate manager,
// within the Lease of the first: a manager starts nothing before all of its caches are filled, so the own CA, without
// which the API may not be served, would wait for it forever.
type whenServed struct {
	config *restclient.Config
	rewrap rewrap.Options
}

var _ ctrlmanager.LeaderElectionRunnable = whenServed{}

// NeedLeaderElection makes it wait for the Lease.
func (whenServed) NeedLeaderElection() bool { return true }

// Start runs until ctx ends.
func (w whenServed) Start(ctx context.Context) error {
	client, err := discovery.NewDiscoveryClientForConfig(w.config)
	if err != nil {
		return fmt.Errorf("preparing discovery: %w", err)
	}
	var mgr ctrl.Manager
	err = wait.PollUntilContextCancel(ctx, servedPoll, true, func(context.Context) (bool, error) {
		if _, err := client.ServerResourcesForGroupVersion(v1beta1.SchemeGroupVersion.String()); err != nil {
			klog.V(2).InfoS("The API of secure values is not served yet", "err", err)
			return false, nil
		}
		var err error
		if mgr, err = ctrl.NewManager(w.config, ctrl.Options{
			Scheme: newScheme(), Cache: rewrap.CacheOptions(),
			Metrics: metricsserver.Options{BindAddress: off}, HealthProbeBindAddress: off, // the first manager has them
		}); err != nil {
			klog.ErrorS(err, "Could not prepare the controllers of secure values; trying again")
			return false, nil
		}
		return true, nil
	})
	if err != nil {
		return nil //nolint:nilerr // ctx has ended
	}
	if err := rewrap.SetupWithManager(mgr, w.rewrap); err != nil { //nolint:contextcheck // Start has it
		return fmt.Errorf("setting up the rewrap controller: %w", err)
	}
	klog.InfoS("The API of secure values is served; starting its controllers")
	return mgr.Start(ctx)
}
