// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
)

// RESTOptionsGetter puts a Store between the etcd3 store and the watch cache of SecureValue.
type RESTOptionsGetter struct {
	delegate   generic.RESTOptionsGetter
	sealer     *Sealer
	watchCache bool
	newRaw     NewRawFunc
	store      *Store

	top  storage.Interface // what the registry uses: the watch cache, or store without one
	root string            // of the keys in it
}

// NewRawFunc builds the etcd3 store below a Store: Remote, or what InProcess returns.
type NewRawFunc func(
	config *storagebackend.ConfigForResource, newFunc, newListFunc func() runtime.Object, resourcePrefix string,
) (storage.Interface, factory.DestroyFunc, error)

var _ generic.RESTOptionsGetter = (*RESTOptionsGetter)(nil)

// NewRESTOptionsGetter wraps the getter of upstream's etcd options, which must not encrypt.
func NewRESTOptionsGetter(delegate generic.RESTOptionsGetter, sealer *Sealer, watchCache bool,
	newRaw NewRawFunc) *RESTOptionsGetter {
	return &RESTOptionsGetter{delegate: delegate, sealer: sealer, watchCache: watchCache, newRaw: newRaw}
}

// GetRESTOptions returns options whose storage seals.
func (g *RESTOptionsGetter) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions,
	error) {
	opts, err := g.delegate.GetRESTOptions(resource, example)
	if err != nil {
		return opts, err
	}
	if resource != secret.GroupResource {
		return opts, errors.New("this server stores " + secret.GroupResource.String() + " only")
	}
	if opts.StorageConfig.Transformer != nil {
		return opts,
			errors.New("the storage options already have a transformer: values must be sealed by pkg/sealed only")
	}
	config := *opts.StorageConfig
	config.Codec = g.sealer.Codec(config.Codec)
	opts.StorageConfig = &config
	opts.Decorator = g.decorate
	return opts, nil
}

// Rewrap is Store.Rewrap of the store built from these options. The watch cache is updated from etcd.
func (g *RESTOptionsGetter) Rewrap(ctx context.Context, key string, preconditions *storage.Preconditions,
	dryRun bool) (RewrapResult, error) {
	return g.store.Rewrap(ctx, key, preconditions, dryRun)
}

// CheckOpens is Store.CheckOpens of the store built from these options.
func (g *RESTOptionsGetter) CheckOpens(ctx context.Context, key string) error {
	return g.store.CheckOpens(ctx, key)
}

// Lookup reads a secure value, from the watch cache if that has reached the revision since. It returns nil if there is
// none, or only a damaged record.
func (g *RESTOptionsGetter) Lookup(
	ctx context.Context, namespace, name string, since uint64,
) (*secret.SecureValue, error) {
	sv := &secret.SecureValue{}
	err := g.top.Get(ctx, g.root+namespace+"/"+name,
		storage.GetOptions{ResourceVersion: strconv.FormatUint(since, 10)}, sv)
	if _, damaged := errors.AsType[*OperationError](err); damaged || storage.IsNotFound(err) {
		return nil, nil
	}
	return sv, err
}

// Follow streams the changes of all secure values after a revision, which it returns.
func (g *RESTOptionsGetter) Follow(ctx context.Context) (watch.Interface, uint64, error) {
	since, err := g.top.GetCurrentResourceVersion(ctx)
	if err != nil {
		return nil, 0, fmt.Errorf("reading the revision of etcd: %w", err)
	}
	events, err := g.top.Watch(ctx, g.root, storage.ListOptions{
		ResourceVersion: strconv.FormatUint(since, 10), Recursive: true, Predicate: storage.Everything,
	})
	return events, since, err
}

// decorate builds the stack below registry.Store; it has the shape of upstream's registry.StorageWithCacher.
func (g *RESTOptionsGetter) decorate(
	config *storagebackend.ConfigForResource, resourcePrefix string,
	keyFunc func(obj runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object,
	getAttrs storage.AttrFunc, triggers storage.IndexerFuncs, indexers *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	raw, destroyRaw, err := g.newRaw(config, newFunc, newListFunc, resourcePrefix)
	if err != nil {
		return nil, nil, err
	}
	g.store = New(raw, config.Codec, g.sealer)
	g.top, g.root = g.store, resourcePrefix+"/"
	if !g.watchCache {
		return g.store, destroyRaw, nil
	}
	c, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage:             g.store,
		Versioner:           storage.APIObjectVersioner{},
		GroupResource:       config.GroupResource,
		EventsHistoryWindow: config.EventsHistoryWindow,
		ResourcePrefix:      resourcePrefix,
		KeyFunc:             keyFunc,
		NewFunc:             newFunc,
		NewListFunc:         newListFunc,
		GetAttrsFunc:        getAttrs,
		IndexerFuncs:        triggers,
		Indexers:            indexers,
		Codec:               config.Codec,
	})
	if err != nil {
		destroyRaw()
		return nil, nil, err
	}
	delegator := cacher.NewCacheDelegator(c, g.store)
	g.top = cached{delegator, g.store}
	return g.top, func() {
		delegator.Stop()
		c.Stop()
		destroyRaw()
	}, nil
}

// cached is the watch cache, except for misplaced records, which it does not have.
type cached struct {
	*cacher.CacheDelegator
	store *Store
}

// Get reads an object that is not in the cache from the store: its record may be misplaced.
func (c cached) Get(ctx context.Context, key string, opts storage.GetOptions, objPtr runtime.Object) error {
	err := c.CacheDelegator.Get(ctx, key, opts, objPtr)
	if opts.ResourceVersion != "" && storage.IsNotFound(err) {
		return c.store.Get(ctx, key, opts, objPtr)
	}
	return err
}

// GetList lists from the store for a request that deletes, so that it deletes misplaced records as well.
func (c cached) GetList(ctx context.Context, key string, opts storage.ListOptions, listObj runtime.Object) error {
	if deletes(ctx) {
		return c.store.GetList(ctx, key, opts, listObj)
	}
	return c.CacheDelegator.GetList(ctx, key, opts, listObj)
}

// InProcess builds upstream's etcd3 store on an etcd in this process: a request is a function call, without socket or
// HTTP/2. Nothing else differs from Remote. The caller closes client after the stores are destroyed.
func InProcess(client *clientv3.Client) NewRawFunc {
	return func(
		config *storagebackend.ConfigForResource, newFunc, newListFunc func() runtime.Object, resourcePrefix string,
	) (storage.Interface, factory.DestroyFunc, error) {
		member := clientv3.NewCtxClient(client.Ctx())
		member.KV, member.Watcher, member.Lease, member.Maintenance, member.Cluster = client.KV, client.Watcher,
			client.Lease, client.Maintenance, client.Cluster
		// Needed for watch-lists and for consistent lists from the cache.
		feature.DefaultFeatureSupportChecker.CheckClient(client.Ctx(), oneMember{client}, storage.RequestWatchProgress)
		return newRaw(member, config, newFunc, newListFunc, resourcePrefix)
	}
}

// Remote builds the store on the etcd of --etcd-servers. It is generic.NewRawStorage with a client that batches reads
// (docs/decisions/0013), and has interceptors for traces only if there are any.
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

// oneMember gives a client without endpoints one, for the feature check of etcd3.New.
type oneMember struct{ *clientv3.Client }

// Endpoints returns a name, for the logs.
func (oneMember) Endpoints() []string { return []string{"etcd in this process"} }

// newRaw follows newETCD3Storage of k8s.io/apiserver/pkg/storage/storagebackend/factory. It owns and changes etcd.
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
	client.Kubernetes = &fence{client, retiredRoot(config.Prefix)}
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
