// SPDX-License-Identifier: Apache-2.0

// Restarter is an example of a controller-runtime manager that watches secure values: it rolls out the Deployments that
// name a secure value whenever a new value was written. It never has a value, and no permission to decrypt one.
// README.md describes how to run it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	restclient "k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// options are the flags in addition to --kubeconfig, which controller-runtime adds; without that one it runs as a Pod.
type options struct {
	namespace, metrics, leaseNamespace string
	elect                              bool
}

// lease is the name of the Lease: copies for different namespaces must not wait for each other, wherever their Leases
// are.
func (o options) lease() string {
	if o.namespace == "" {
		return name
	}
	return name + "." + o.namespace
}

func main() {
	var o options
	flag.StringVar(&o.namespace, "namespace", "", "the only namespace to look after; empty for all")
	flag.StringVar(&o.metrics, "metrics-bind-address", "0", "address of /metrics; 0 is off")
	flag.BoolVar(&o.elect, "leader-elect", false, "run alongside other replicas and wait for the Lease")
	flag.StringVar(&o.leaseNamespace, "leader-elect-namespace", "", "namespace of the Lease; empty for the Pod's own")
	flag.Parse()
	ctrl.SetLogger(klog.Background())
	config, err := ctrl.GetConfig()
	if err == nil {
		err = run(ctrl.SetupSignalHandler(), config, o)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "error: %v\n", err)
		os.Exit(1)
	}
}

// run runs the manager until ctx ends.
func run(ctx context.Context, config *restclient.Config, o options) error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1beta1.AddToScheme} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: scheme, Cache: cacheOptions(o.namespace), Metrics: metricsserver.Options{BindAddress: o.metrics},
		LeaderElection: o.elect, LeaderElectionID: o.lease(), LeaderElectionNamespace: o.leaseNamespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("making the manager: %w", err)
	}
	if err := setup(ctx, mgr); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// cacheOptions keeps of a secure value what tells that it changed.
func cacheOptions(namespace string) cache.Options {
	o := cache.Options{ByObject: map[client.Object]cache.ByObject{&v1beta1.SecureValue{}: {Transform: slim}}}
	if namespace != "" {
		o.DefaultNamespaces = map[string]cache.Config{namespace: {}}
	}
	return o
}

func slim(object any) (any, error) {
	sv, ok := object.(*v1beta1.SecureValue)
	if !ok {
		return object, nil
	}
	return &v1beta1.SecureValue{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: sv.Namespace, Name: sv.Name, UID: sv.UID, ResourceVersion: sv.ResourceVersion,
		},
		Status: v1beta1.SecureValueStatus{Version: sv.Status.Version},
	}, nil
}
