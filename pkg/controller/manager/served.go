// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/discovery"
	restclient "k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	ctrlmanager "sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/controller/rewrap"
)

// servedPoll is how often it is asked whether the API is served.
const servedPoll = 5 * time.Second

// whenServed runs the controllers that watch secure values, once their API is served. They are in a manager of their own,
// within the Lease of the first: a manager starts nothing before all of its caches are filled, and the own CA, without
// which the API may not be served, would wait for it for ever.
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
		return fmt.Errorf("asking what is served: %w", err)
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
		return nil //nolint:nilerr // ctx has ended, as it does
	}
	if err := rewrap.SetupWithManager(mgr, w.rewrap); err != nil { //nolint:contextcheck // it gets its context at the start
		return fmt.Errorf("setting up the rewrap controller: %w", err)
	}
	klog.InfoS("The API of secure values is served; starting its controllers")
	return mgr.Start(ctx)
}
