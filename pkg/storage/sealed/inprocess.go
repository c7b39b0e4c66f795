// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value/encrypt/identity"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/utils/clock"
)

// InProcess builds upstream's etcd3 store on an etcd that runs in this process. A request then is a call: no socket, no
// HTTP/2, no copy of what is read. Nothing else differs from generic.NewRawStorage. The caller closes client after the
// stores are destroyed.
func InProcess(client *clientv3.Client) NewRawFunc {
	return func(
		config *storagebackend.ConfigForResource, newFunc, newListFunc func() runtime.Object, resourcePrefix string,
	) (storage.Interface, factory.DestroyFunc, error) {
		return newRaw(track(client), config, newFunc, newListFunc, resourcePrefix)
	}
}

// track returns a client whose calls count as time spent in etcd, in metrics and audit annotations.
func track(client *clientv3.Client) *kubernetes.Client {
	tracked := clientv3.NewCtxClient(client.Ctx())
	tracked.KV = etcd3.NewETCDLatencyTracker(client.KV)
	tracked.Watcher, tracked.Lease, tracked.Maintenance, tracked.Cluster = client.Watcher, client.Lease, client.Maintenance, client.Cluster
	c := &kubernetes.Client{Client: tracked}
	c.Kubernetes = c
	return c
}

// member shows the feature check of etcd3.New, which asks each endpoint of a client, the one that has none.
type member struct{ *clientv3.Client }

// Endpoints returns a name, for the logs.
func (member) Endpoints() []string { return []string{"etcd in this process"} }

// newRaw follows newETCD3Storage of k8s.io/apiserver/pkg/storage/storagebackend/factory.
func newRaw(
	client *kubernetes.Client, config *storagebackend.ConfigForResource,
	newFunc, newListFunc func() runtime.Object, resourcePrefix string,
) (storage.Interface, factory.DestroyFunc, error) {
	versioner := storage.APIObjectVersioner{}
	transformer, decoder := config.Transformer, etcd3.NewDefaultDecoder(config.Codec, versioner)
	if transformer == nil {
		transformer = identity.NewEncryptCheckTransformer()
	}
	deleteMalformed := utilfeature.DefaultFeatureGate.Enabled(features.AllowUnsafeMalformedObjectDeletion)
	if deleteMalformed {
		transformer = etcd3.WithCorruptObjErrorHandlingTransformer(transformer)
		decoder = etcd3.WithCorruptObjErrorHandlingDecoder(decoder)
	}
	// Without it there are no lists that watches go on from, and no consistent lists from the cache.
	feature.DefaultFeatureSupportChecker.CheckClient(client.Ctx(), member{client.Client}, storage.RequestWatchProgress)
	compactor := etcd3.NewCompactor(client.Client, config.CompactionInterval, clock.RealClock{}, nil)
	store, err := etcd3.New(client, compactor, config.Codec, newFunc, newListFunc, config.Prefix, resourcePrefix,
		config.GroupResource, transformer, config.LeaseManagerConfig, decoder, versioner)
	if err != nil {
		compactor.Stop()
		return nil, nil, err
	}
	destroy := sync.OnceFunc(func() {
		compactor.Stop()
		store.Close()
	})
	if deleteMalformed {
		return etcd3.NewStoreWithUnsafeCorruptObjectDeletion(store, config.GroupResource), destroy, nil
	}
	return store, destroy, nil
}
