// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	componenttracing "k8s.io/component-base/tracing"

	"github.com/securevalue/secret-apiserver/pkg/apiserver"
	"github.com/securevalue/secret-apiserver/pkg/etcd"
	"github.com/securevalue/secret-apiserver/pkg/generated/openapi"
	"github.com/securevalue/secret-apiserver/pkg/keys"
	"github.com/securevalue/secret-apiserver/pkg/sealed"
	"github.com/securevalue/secret-apiserver/pkg/version"
)

const (
	// serviceName is service.name of the server's spans.
	serviceName = "secret-apiserver"
	// connectionGrace is how long a stop waits for connections to close, apart from requests, which may take up to
	// --request-timeout: longer than watches have to end. net/http tells each connection once to close; one that is
	// idle or whose handshake has just ended would otherwise delay a stop for a minute.
	connectionGrace = 10 * time.Second
)

// wire joins everything into the configuration of the API server. The order matters: serving comes before what changes
// its TLS configuration or its loopback client, and the decrypt port reads what the steps before it set.
func (s *server) wire() (*apiserver.Config, error) {
	config := genericapiserver.NewConfig(apiserver.Codecs)
	if err := s.opts.Requests.ApplyTo(config); err != nil {
		return nil, err
	}
	config.EnableIndex = false
	config.EnableProfiling = false // profiles contain memory, which contains values
	if err := s.opts.Serving.WithLoopback().ApplyToConfig(config); err != nil {
		return nil, fmt.Errorf("setting up --tls-cert-file and --tls-private-key-file: %w", err)
	}
	s.wireTracing(config)
	sealer, err := s.wireKeys(config)
	if err != nil {
		return nil, err
	}
	store, err := s.wireStorage(config, sealer)
	if err != nil {
		return nil, err
	}
	if err := s.wireAnnouncement(config, sealer); err != nil {
		return nil, err
	}
	sealingKeys, err := s.wireSealingKeys(config, sealer)
	if err != nil {
		return nil, err
	}
	if err := s.wireAccess(config); err != nil {
		return nil, err
	}
	if err := s.wireAudit(config); err != nil {
		return nil, err
	}
	if err := s.wireDecrypt(config, sealer, store); err != nil {
		return nil, err
	}
	s.notices.addFault("serving-certificate", refused,
		func() error { return s.certificateFault(config.SecureServing.Cert) })
	if err := s.notices.serve(config); err != nil {
		return nil, err
	}
	certificateMetrics.publish(s.certificates(config.SecureServing))
	wireOpenAPI(config)
	if config.Authorization.Authorizer == nil {
		return nil, errors.New("no authorizer is configured") // upstream would allow everything
	}
	joined := &apiserver.Config{
		Generic: config,
		Extra: apiserver.ExtraConfig{
			AllowedDecrypters: s.opts.Decrypt.AllowedDecrypters, Rewrapper: store, Servers: s.liveServers,
			SealingKeys: sealingKeys, Standalone: s.opts.Standalone.Enabled,
		},
	}
	if s.inputs.cluster != nil {
		joined.Informers = s.inputs.cluster.informers
	}
	return joined, nil
}

// wireTracing makes the API server shut the provider down when it stops. Without a provider nothing changes.
func (s *server) wireTracing(config *genericapiserver.Config) {
	provider := s.inputs.tracing
	if provider == nil {
		return
	}
	config.TracerProvider = provider
	s.opts.Storage.StorageConfig.Transport.TracerProvider = provider
	config.LoopbackClientConfig.Wrap(componenttracing.WrapperFor(provider))
}

// wireKeys loads the encryption keys, reloads them while the server runs, and returns the sealer that uses them.
func (s *server) wireKeys(config *genericapiserver.Config) (*sealed.Sealer, error) {
	// It ends after the last request, later than the context of a hook.
	drained := wait.ContextForChannel(config.DrainedNotify())
	provider, err := keys.New(drained, keys.Config{
		File: s.opts.Encryption.ConfigFile, Reload: s.opts.Encryption.AutomaticReload, APIServerID: config.APIServerID,
	})
	if err != nil {
		return nil, err
	}
	s.keys = provider
	sealer := sealed.NewSealer(provider.Transformer(), provider) //nolint:forbidigo // for store and decrypt port
	config.ReadyzChecks = append(config.ReadyzChecks, provider.StartupCheck(s.opts.Encryption.KMSStartupGrace))
	s.notices.addFault("encryption-config", refused, provider.FileFault)
	s.notices.addFault("kms-providers",
		"a KMS plugin is unavailable, values cannot be sealed or opened for long: see the log", provider.KMSFault)
	s.notices.addFault("encryption-keys", "values are stored under keys that the file lacks: see the log",
		provider.MissingFault)
	return sealer, config.AddPostStartHook("watch-encryption-keys", func(genericapiserver.PostStartHookContext) error {
		go provider.Run(drained, sealer.WriteKey)
		return nil
	})
}

// compareKeys opens one stored value of each local key and fails when a secret differs from the one that values under
// its name were sealed with: values that such a server seals could not be opened together with the stored ones. It
// calls no KMS.
func (s *server) compareKeys(ctx context.Context) error {
	client, err := s.etcdClient()
	if err != nil {
		return err
	}
	scanner := sealed.NewScanner(client, apiserver.NewStorageCodec(), s.opts.Storage.StorageConfig.Prefix)
	if err := s.keys.UseStored(ctx, scanner); err != nil {
		return fmt.Errorf("--%s %s: %w", keys.Flag, s.opts.Encryption.ConfigFile, err)
	}
	return nil
}

// wireAnnouncement announces in etcd, until the last request is served, which keys this server uses.
func (s *server) wireAnnouncement(config *genericapiserver.Config, sealer *sealed.Sealer) error {
	client, err := s.etcdClient()
	if err != nil {
		return err
	}
	instance, err := s.instance()
	if err != nil {
		instance = "unnamed" // only the audit chain needs a name
	}
	started := time.Now()
	state := func() sealed.Server {
		now := sealed.Server{
			Version: version.Get(), Fence: sealed.Fence, Keys: slices.Sorted(slices.Values(s.keys.Names())),
			Refused: s.keys.FileFault() != nil, Started: started.UTC(),
		}
		now.WriteKey, _ = sealer.WriteKey() // "" without a KMS, which is logged elsewhere
		now.Loads, now.Loaded = s.keys.Loads()
		return now
	}
	return config.AddPostStartHook("announce-server", func(genericapiserver.PostStartHookContext) error {
		ctx, cancel := context.WithCancel(wait.ContextForChannel(config.DrainedNotify()))
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			sealed.Announce(ctx, client, s.opts.Storage.StorageConfig.Prefix, instance, state)
		}()
		end := func() {
			cancel()
			<-ended
		}
		s.announced.Store(&end)
		return nil
	})
}

// wireSealingKeys returns the keys of spec.sealedValue, and keeps them under the write key.
func (s *server) wireSealingKeys(config *genericapiserver.Config, sealer *sealed.Sealer) (*sealed.SealingKeys, error) {
	client, err := s.etcdClient()
	if err != nil {
		return nil, err
	}
	found := sealed.NewSealingKeys(client, s.opts.Storage.StorageConfig.Prefix, sealer,
		s.opts.Encryption.SealingKeyMaxAge)
	run := func(hook genericapiserver.PostStartHookContext) error {
		go found.Run(hook)
		return nil
	}
	return found, config.AddPostStartHook("rewrap-sealing-keys", run)
}

// liveServers returns the servers that are announced in etcd now.
func (s *server) liveServers(ctx context.Context) ([]sealed.Server, error) {
	client, err := s.etcdClient()
	if err != nil {
		return nil, err
	}
	return sealed.LiveServers(ctx, client, s.opts.Storage.StorageConfig.Prefix, 0)
}

// etcdConnection is how the server reaches etcd.
type etcdConnection struct {
	embedded sealed.Etcd       // client of an etcd in this process, nil for an external one; standalone.go closes it
	newRaw   sealed.NewRawFunc // builds the store under the sealing one
	remote   sealed.Etcd       // client of an external etcd, once etcdClient was called
}

func (c *etcdConnection) close() {
	if c.remote != nil {
		_ = c.remote.Close() // returns only the error of its context
	}
}

// etcdClient returns the client that everything but the store shares. It calls an embedded etcd in this process: a call
// through its socket costs more than opening a value.
func (s *server) etcdClient() (sealed.Etcd, error) {
	if s.etcd.embedded != nil {
		return s.etcd.embedded, nil
	}
	if s.etcd.remote == nil {
		client, err := etcd.New(s.opts.Storage.StorageConfig.Transport)
		if err != nil {
			return nil, err
		}
		s.etcd.remote = client
	}
	return s.etcd.remote, nil
}

// wireStorage puts the sealing store on top of etcd.
func (s *server) wireStorage(
	config *genericapiserver.Config, sealer *sealed.Sealer,
) (*sealed.RESTOptionsGetter, error) {
	if err := s.opts.Storage.ApplyTo(config); err != nil {
		return nil, fmt.Errorf("setting up --etcd-servers: %w", err)
	}
	// A restart does not repair etcd: the check is for readiness only.
	config.LivezChecks = slices.DeleteFunc(config.LivezChecks,
		func(check healthz.HealthChecker) bool { return check.Name() == "etcd" })
	newRaw := s.etcd.newRaw
	if newRaw == nil {
		newRaw = sealed.Remote
	}
	getter := sealed.NewRESTOptionsGetter(config.RESTOptionsGetter, sealer, s.opts.Storage.EnableWatchCache, newRaw)
	config.RESTOptionsGetter = getter
	if err := s.watchRetired(config, sealer); err != nil {
		return nil, err
	}
	return getter, s.boundHistory(config)
}

// watchRetired shows a notice while no value can be sealed because the write key is retired.
func (s *server) watchRetired(config *genericapiserver.Config, sealer *sealed.Sealer) error {
	client, err := s.etcdClient()
	if err != nil {
		return err
	}
	s.notices.addFault("retired-key",
		"the first key of the encryption configuration is retired, no value is written: see the log",
		sealer.RetiredFault)
	prefix := s.opts.Storage.StorageConfig.Prefix
	return config.AddPostStartHook("watch-retired-key", func(hook genericapiserver.PostStartHookContext) error {
		go sealer.WatchRetired(hook, client, prefix)
		return nil
	})
}

// boundHistory bounds the history of an external etcd. An embedded one does it itself.
func (s *server) boundHistory(config *genericapiserver.Config) error {
	if s.etcd.embedded != nil || s.opts.Storage.HistoryMax.IsZero() {
		return nil
	}
	return config.AddPostStartHook("bound-etcd-history", func(hook genericapiserver.PostStartHookContext) error {
		client, err := etcd.New(s.opts.Storage.StorageConfig.Transport)
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = client.Close() }() // returns only the error of its context
			etcd.NewHistory(client, s.opts.Storage.HistoryMax.Value()).Run(hook)
		}()
		return nil
	})
}

func wireOpenAPI(config *genericapiserver.Config) {
	const title = "Secret API server"
	namer := openapinamer.NewDefinitionNamer(apiserver.NewExternalScheme())
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, namer)
	config.OpenAPIConfig.Info.Title = title
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, namer)
	config.OpenAPIV3Config.Info.Title = title
}
