// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/metrics"
	"k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle"
	"k8s.io/apiserver/pkg/admission/plugin/resourcequota"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// quotaWorkers is how many namespaces' quotas are counted at the same time.
const quotaWorkers = 5

// Config is what the plugins need.
type Config struct {
	// Client reads namespaces that the informer has not seen yet and writes the status of quotas.
	Client kubernetes.Interface
	// Informers follow namespaces and quotas. The caller starts them.
	Informers informers.SharedInformerFactory
	// Drained ends the plugins' work, once no request is in flight any more.
	Drained <-chan struct{}
}

// New returns the chain of plugins.
func New(config Config) (admission.Interface, error) {
	immortal := sets.New[string](metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic)
	namespaces, err := lifecycle.NewLifecycle(immortal)
	if err != nil {
		return nil, err
	}
	quotas, err := resourcequota.NewResourceQuota(nil, quotaWorkers)
	if err != nil {
		return nil, err
	}
	var chain []admission.Interface
	for _, plugin := range []struct {
		name   string
		plugin admission.Interface
	}{
		{lifecycle.PluginName, namespaces},
		{resourcequota.PluginName, quotas}, // last: it counts what nothing refuses any more
	} {
		if err := initialize(plugin.plugin, config); err != nil {
			return nil, fmt.Errorf("admission plugin %s: %w", plugin.name, err)
		}
		chain = append(chain, metrics.WithControllerMetrics(plugin.plugin, plugin.name))
	}
	return metrics.WithStepMetrics(admission.NewChainHandler(chain...)), nil
}

func initialize(plugin admission.Interface, config Config) error {
	admission.PluginInitializers{
		initializer.New(config.Client, nil, config.Informers, nil, nil, nil, config.Drained, nil),
		quotaInitializer{},
	}.Initialize(plugin)
	return admission.ValidateInitialization(plugin)
}

// quotaInitializer says what a quota counts.
type quotaInitializer struct{}

// Initialize implements admission.PluginInitializer.
func (quotaInitializer) Initialize(plugin admission.Interface) {
	if wants, ok := plugin.(initializer.WantsQuotaConfiguration); ok {
		count := generic.NewObjectCountEvaluator(secret.GroupResource, nil, "")
		wants.SetQuotaConfiguration(generic.NewConfiguration([]quota.Evaluator{count}, nil))
	}
}
