// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"
	"errors"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// RESTOptionsGetter puts a Store between etcd3 and the watch cache of SecureValue.
type RESTOptionsGetter struct {
	delegate   generic.RESTOptionsGetter
	sealer     *Sealer
	watchCache bool
	newRaw     NewRawFunc
	store      *Store
}

// NewRawFunc builds the etcd3 store below a Store: Remote, or what InProcess returns.
type NewRawFunc func(
	config *storagebackend.ConfigForResource, newFunc, newListFunc func() runtime.Object, resourcePrefix string,
) (storage.Interface, factory.DestroyFunc, error)

var _ generic.RESTOptionsGetter = (*RESTOptionsGetter)(nil)

// NewRESTOptionsGetter wraps the getter of upstream's etcd options, which must not have an encryption of its own.
func NewRESTOptionsGetter(delegate generic.RESTOptionsGetter, sealer *Sealer, watchCache bool, newRaw NewRawFunc) *RESTOptionsGetter {
	return &RESTOptionsGetter{delegate: delegate, sealer: sealer, watchCache: watchCache, newRaw: newRaw}
}

// GetRESTOptions returns options whose storage seals.
func (g *RESTOptionsGetter) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	opts, err := g.delegate.GetRESTOptions(resource, example)
	if err != nil {
		return opts, err
	}
	if resource != secret.GroupResource {
		return opts, errors.New("this server stores " + secret.GroupResource.String() + " only")
	}
	if opts.StorageConfig.Transformer != nil {
		return opts, errors.New("the storage encrypts already: values are sealed by this project's own store alone")
	}
	config := *opts.StorageConfig
	config.Codec = g.sealer.Codec(config.Codec)
	opts.StorageConfig = &config
	opts.Decorator = g.decorate
	return opts, nil
}

// Rewrap is Store.Rewrap of the store that was built from these options. The watch cache learns of it from etcd.
func (g *RESTOptionsGetter) Rewrap(ctx context.Context, key string, preconditions *storage.Preconditions, dryRun bool) (RewrapResult, error) {
	return g.store.Rewrap(ctx, key, preconditions, dryRun)
}

// CheckOpens is Store.CheckOpens of the store that was built from these options.
func (g *RESTOptionsGetter) CheckOpens(ctx context.Context, key string) error {
	return g.store.CheckOpens(ctx, key)
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
	return cached{delegator, g.store}, func() {
		delegator.Stop()
		c.Stop()
		destroyRaw()
	}, nil
}

// cached is the watch cache, but for what it does not have: misplaced records.
type cached struct {
	*cacher.CacheDelegator
	store *Store
}

// Get asks the store about an object that the cache does not have, which a misplaced record may stand in the place of.
func (c cached) Get(ctx context.Context, key string, opts storage.GetOptions, objPtr runtime.Object) error {
	err := c.CacheDelegator.Get(ctx, key, opts, objPtr)
	if opts.ResourceVersion != "" && storage.IsNotFound(err) {
		return c.store.Get(ctx, key, opts, objPtr)
	}
	return err
}

// GetList lists for a request that deletes from the store, so that it deletes misplaced records as well.
func (c cached) GetList(ctx context.Context, key string, opts storage.ListOptions, listObj runtime.Object) error {
	if deletes(ctx) {
		return c.store.GetList(ctx, key, opts, listObj)
	}
	return c.CacheDelegator.GetList(ctx, key, opts, listObj)
}
