// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
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
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/utils/clock"

	"github.com/securevalue/secret-apiserver/pkg/etcd"
)

// InProcess builds upstream's etcd3 store on an etcd that runs in this process. A request then is a call: no socket, no
// HTTP/2, no copy of what is read. Nothing else differs from Remote. The caller closes client after the stores are destroyed.
func InProcess(client *clientv3.Client) NewRawFunc {
	return func(
		config *storagebackend.ConfigForResource, newFunc, newListFunc func() runtime.Object, resourcePrefix string,
	) (storage.Interface, factory.DestroyFunc, error) {
		member := clientv3.NewCtxClient(client.Ctx())
		member.KV, member.Watcher, member.Lease, member.Maintenance, member.Cluster = client.KV, client.Watcher, client.Lease, client.Maintenance, client.Cluster
		// Without it there are no lists that watches go on from, and no consistent lists from the cache.
		feature.DefaultFeatureSupportChecker.CheckClient(client.Ctx(), oneMember{client}, storage.RequestWatchProgress)
		return newRaw(member, config, newFunc, newListFunc, resourcePrefix)
	}
}

// Remote builds the store on the etcd of --etcd-servers. It is generic.NewRawStorage but for its client, which batches reads
// (docs/decisions/0013), and has interceptors for traces only where there are any.
func Remote(
	config *storagebackend.ConfigForResource, newFunc, newListFunc func() runtime.Object, resourcePrefix string,
) (storage.Interface, factory.DestroyFunc, error) {
	client, err := etcd.New(config.Transport)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(client.Ctx(), etcd.DialTimeout)
	defer cancel()
	if err := etcd.WaitConnected(ctx, client); err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	client.KV = etcd.BatchReads(client.KV)
	store, destroy, err := newRaw(client, config, newFunc, newListFunc, resourcePrefix)
	if err != nil {
		return nil, nil, errors.Join(err, client.Close())
	}
	return store, sync.OnceFunc(func() {
		destroy()
		_ = client.Close() // reports only that its context ended
	}), nil
}

// oneMember shows the feature check of etcd3.New, which asks each endpoint of a client, the one that has none.
type oneMember struct{ *clientv3.Client }

// Endpoints returns a name, for the logs.
func (oneMember) Endpoints() []string { return []string{"etcd in this process"} }

// newRaw follows newETCD3Storage of k8s.io/apiserver/pkg/storage/storagebackend/factory. It changes etcd, which must be its own.
func newRaw(
	etcd *clientv3.Client, config *storagebackend.ConfigForResource,
	newFunc, newListFunc func() runtime.Object, resourcePrefix string,
) (storage.Interface, factory.DestroyFunc, error) {
	versioner := storage.APIObjectVersioner{}
	transformer, decoder := config.Transformer, etcd3.NewDefaultDecoder(config.Codec, versioner)
	if transformer == nil {
		transformer = placed{root: RecordRoot(config.Prefix), codec: config.Codec}
	}
	deleteMalformed := utilfeature.DefaultFeatureGate.Enabled(features.AllowUnsafeMalformedObjectDeletion)
	if deleteMalformed {
		transformer = etcd3.WithCorruptObjErrorHandlingTransformer(transformer)
		decoder = etcd3.WithCorruptObjErrorHandlingDecoder(decoder)
	}
	etcd.KV = etcd3.NewETCDLatencyTracker(etcd.KV) // for metrics and audit annotations
	client := &kubernetes.Client{Client: etcd}
	client.Kubernetes = client
	compactor := etcd3.NewCompactor(etcd, config.CompactionInterval, clock.RealClock{}, nil)
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
