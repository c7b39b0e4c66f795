// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// Flag is the flag that names the file.
const Flag = "encryption-provider-config"

// healthTimeout is how long the KMS plugins of a new configuration may take to answer before it is refused.
const healthTimeout = 5 * time.Second

// Config says which file to use.
type Config struct {
	// File is the value of --encryption-provider-config.
	File string
	// Reload is --encryption-provider-config-automatic-reload.
	Reload bool
	// APIServerID labels upstream's metrics.
	APIServerID string
	// Interval is how often the file, the KMS plugins and the write key are looked at. Zero means reload.DefaultInterval.
	Interval time.Duration
}

// Provider is the encryption configuration in force.
type Provider struct {
	config  Config
	file    *reload.File
	dynamic *encryptionconfig.DynamicTransformers // nil until the first configuration is loaded
	keys    atomic.Pointer[dataKeys]
	inForce atomic.Pointer[generation]
	// digests has the secret of every local key that was in force since the start, by name.
	digests map[string][sha256.Size]byte
	stored  Stored        // nil until UseStored
	due     chan struct{} // has one element while values are to be counted
	// kms is why a plugin in force cannot be used, missing which keys of stored values the file lacks.
	kms, missing atomic.Pointer[error]
	started      time.Time
	reached      atomic.Bool // every plugin has answered once, or there was none at the start
}

// generation is a configuration in force and the keys of its KMS plugins.
type generation struct {
	*Configuration
	keys *dataKeys
}

// New loads the file and fails when it is not sound. A KMS plugin that does not answer yet is not a fault: it may start
// later. What it starts lives until ctx ends: give it the life of the server.
func New(ctx context.Context, config Config) (*Provider, error) {
	registerMetrics()
	if config.Interval <= 0 {
		config.Interval = reload.DefaultInterval
	}
	p := &Provider{config: config, started: time.Now(), digests: map[string][sha256.Size]byte{}, due: make(chan struct{}, 1)}
	p.file = &reload.File{Flag: Flag, Path: config.File, Holds: reload.Credentials, Apply: p.apply, Done: countReload}
	if err := p.file.Load(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Run applies changes of the file and watches KMS plugins and write key until ctx ends. writeKey names the key that
// seals now.
func (p *Provider) Run(ctx context.Context, writeKey func() (string, error)) {
	if p.stored != nil {
		go p.watchMissing(ctx)
	}
	published := &published{}
	reload.Every(ctx, p.config.Interval, func(ctx context.Context, asked bool) {
		if p.config.Reload || asked {
			p.file.Check(ctx, asked)
		}
		p.checkKMS(ctx)
		published.refresh(writeKey)
	})
}

// apply checks data, loads it and puts it in force. The first configuration does not wait for KMS plugins; a later one
// must show that they answer, or the working one before it would be lost.
func (p *Provider) apply(ctx context.Context, data []byte) error {
	config, err := Parse(data)
	if err != nil {
		return err
	}
	if err := p.compareSecrets(ctx, config); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	keys := newDataKeys()
	loaded, err := load(withDataKeys(ctx, keys), p.config, data)
	if err == nil && p.dynamic != nil {
		err = waitHealthy(ctx, loaded)
	}
	if err != nil {
		cancel()
		return err
	}
	p.keys.Store(keys) // before the rest: data keys of the configuration before this one must not open any more
	if p.dynamic == nil {
		p.reached.Store(!slices.ContainsFunc(config.keys, func(k key) bool { return k.provider == providerKMS }))
		p.dynamic = encryptionconfig.NewDynamicTransformers(loaded.Transformers, loaded.HealthChecks[0], cancel, loaded.KMSCloseGracePeriod)
	} else {
		p.dynamic.Set(loaded.Transformers, cancel, loaded.HealthChecks[0], loaded.KMSCloseGracePeriod)
	}
	p.inForce.Store(&generation{Configuration: config, keys: keys})
	for _, k := range config.keys {
		if k.alone != nil {
			p.digests[k.String()] = k.digest
		}
	}
	p.recount()
	return nil
}

// Names lists the keys that the configuration in force opens with: see Configuration.Names.
func (p *Provider) Names() []string { return p.inForce.Load().Names() }

// WriteKey names the key that seals now: the first one of the file, and for a KMS the id of the key that its plugin has
// confirmed last. Nothing is sealed to learn it, for every seal spends a nonce of a static key.
func (p *Provider) WriteKey() (provider, name, kmsKeyID string, err error) {
	now := p.inForce.Load()
	first := now.Configuration.keys[0]
	if first.provider != providerKMS {
		return now.WriteKey()
	}
	kmsKeyID, ok := now.keys.keyID(first.name)
	if !ok {
		return "", "", "", fmt.Errorf("kms provider %s: %w", first.name, errKMSUnknown)
	}
	return first.provider, first.name, kmsKeyID, nil
}

// load reads the file through upstream, which takes a path only, and makes sure that it read what was checked.
func load(ctx context.Context, config Config, data []byte) (*encryptionconfig.EncryptionConfiguration, error) {
	// With reload set upstream returns one health check for all plugins, whatever their number.
	loaded, err := encryptionconfig.LoadEncryptionConfig(ctx, config.File, true, config.APIServerID)
	if err != nil {
		return nil, err
	}
	if loaded.EncryptionFileContentHash != fmt.Sprintf("sha256:%x", sha256.Sum256(data)) {
		return nil, fmt.Errorf("the file changed while it was read: %w", reload.ErrRetry)
	}
	if len(loaded.HealthChecks) != 1 {
		return nil, errors.New("want one health check of all KMS plugins")
	}
	return loaded, nil
}

// waitHealthy waits until the KMS plugins of a new configuration answer. One that does not may do so later.
func waitHealthy(ctx context.Context, loaded *encryptionconfig.EncryptionConfiguration) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, healthTimeout, true, func(ctx context.Context) (bool, error) {
		last = ask(ctx, loaded.HealthChecks[0].Check)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("a KMS plugin of the new file does not answer (%w): %w", reload.ErrRetry, errors.Join(last, ctx.Err()))
	}
	return nil
}

// ask calls a health check outside of a request.
func ask(ctx context.Context, check func(*http.Request) error) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/readyz", http.NoBody)
	if err != nil {
		return err
	}
	return check(r)
}

// checkKMS asks the plugins in force. Upstream answers from memory for some seconds, so this is no call each time.
func (p *Provider) checkKMS(ctx context.Context) {
	err := ask(ctx, p.dynamic.Check)
	before := p.kms.Load()
	if err == nil {
		p.reached.Store(true)
	}
	switch {
	case err == nil && before != nil:
		klog.InfoS("The KMS plugins answer again")
		p.kms.Store(nil)
	case err != nil && before == nil:
		klog.ErrorS(err, "A KMS plugin is out of reach: values cannot be sealed, and opened only where their key is in memory; everything else works")
		p.kms.Store(&err)
	}
	kmsHealthy.Set(healthValue(err))
}
