// SPDX-License-Identifier: Apache-2.0

package sealed

import (
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

// RESTOptionsGetter puts a Store between etcd3 and the watch cache of SecureValue and leaves loading, reload, health
// and metrics of the encryption configuration to upstream.
type RESTOptionsGetter struct {
	delegate   generic.RESTOptionsGetter
	watchCache bool
}

var _ generic.RESTOptionsGetter = (*RESTOptionsGetter)(nil)

// NewRESTOptionsGetter wraps the getter of upstream's etcd options.
func NewRESTOptionsGetter(delegate generic.RESTOptionsGetter, watchCache bool) *RESTOptionsGetter {
	return &RESTOptionsGetter{delegate: delegate, watchCache: watchCache}
}

// GetRESTOptions returns options whose storage seals. It returns an error when no encryption is configured, rather
// than a storage without it.
func (g *RESTOptionsGetter) GetRESTOptions(resource schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	opts, err := g.delegate.GetRESTOptions(resource, example)
	if err != nil {
		return opts, err
	}
	if resource != secret.GroupResource {
		return opts, errors.New("this server stores " + secret.GroupResource.String() + " only")
	}
	if opts.StorageConfig.Transformer == nil {
		return opts, errors.New("no encryption is configured: set --encryption-provider-config")
	}
	config := *opts.StorageConfig
	sealer := NewSealer(config.Transformer)
	config.Transformer = nil
	config.Codec = NewCodec(config.Codec)
	opts.StorageConfig = &config
	opts.Decorator = decorator(sealer, g.watchCache)
	return opts, nil
}

// decorator builds the stack below registry.Store; it has the shape of upstream's registry.StorageWithCacher.
func decorator(sealer *Sealer, watchCache bool) generic.StorageDecorator {
	return func(
		config *storagebackend.ConfigForResource, resourcePrefix string,
		keyFunc func(obj runtime.Object) (string, error),
		newFunc, newListFunc func() runtime.Object,
		getAttrs storage.AttrFunc, triggers storage.IndexerFuncs, indexers *cache.Indexers,
	) (storage.Interface, factory.DestroyFunc, error) {
		raw, destroyRaw, err := generic.NewRawStorage(config, newFunc, newListFunc, resourcePrefix)
		if err != nil {
			return nil, nil, err
		}
		store := New(raw, sealer)
		if !watchCache {
			return store, destroyRaw, nil
		}
		c, err := cacher.NewCacherFromConfig(cacher.Config{
			Storage:             store,
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
		delegator := cacher.NewCacheDelegator(c, store)
		return delegator, func() {
			delegator.Stop()
			c.Stop()
			destroyRaw()
		}, nil
	}
}
