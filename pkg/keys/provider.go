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
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/server/options/encryptionconfig"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
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
	// Interval is how often the file, the KMS plugins and the write key are checked. Zero means reload.DefaultInterval.
	Interval time.Duration
}

// Provider is the active encryption configuration.
type Provider struct {
	config  Config
	file    *reload.File
	dynamic *encryptionconfig.DynamicTransformers // nil until the first configuration is loaded
	keys    atomic.Pointer[dataKeys]
	inForce atomic.Pointer[generation]
	// digests has the secret of every local key that was active since the start, by name.
	digests map[string][sha256.Size]byte
	stored  Stored        // nil until UseStored
	due     chan struct{} // signals watchMissing
	// kms is why a plugin cannot be used, missing which keys of stored values are not in the file.
	kms, missing atomic.Pointer[error]
	started      time.Time
	reached      atomic.Bool // every plugin has answered once, or there was none
}

// generation is an active configuration and the keys of its KMS plugins.
type generation struct {
	*Configuration
	keys  *dataKeys
	loads int // configurations since the start, with this one
	since time.Time
}

// New loads the file and fails if it is invalid. A KMS plugin may start later. The goroutines of New end with ctx,
// which must live as long as the server.
func New(ctx context.Context, config Config) (*Provider, error) {
	registerMetrics()
	if config.Interval <= 0 {
		config.Interval = reload.DefaultInterval
	}
	p := &Provider{config: config, started: time.Now(), digests: map[string][sha256.Size]byte{},
		due: make(chan struct{}, 1)}
	p.file = &reload.File{Flag: Flag, Path: config.File, Holds: reload.Credentials, Apply: p.apply}
	if err := p.file.Load(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// Run applies changes of the file and watches KMS plugins and write key until ctx ends. writeKey returns the name of
// the active write key.
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

// apply checks, loads and activates data. The first configuration does not wait for KMS plugins; those of a later one
// must answer, or the working one before it would be lost.
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
	p.keys.Store(keys) // first: data keys of the previous configuration must not open anything any more
	if p.dynamic == nil {
		p.reached.Store(!slices.ContainsFunc(config.keys, func(k key) bool { return k.provider == providerKMS }))
		p.dynamic = encryptionconfig.NewDynamicTransformers(loaded.Transformers, loaded.HealthChecks[0], cancel,
			loaded.KMSCloseGracePeriod)
	} else {
		p.dynamic.Set(loaded.Transformers, cancel, loaded.HealthChecks[0], loaded.KMSCloseGracePeriod)
	}
	next := &generation{Configuration: config, keys: keys, loads: 1, since: time.Now()}
	if before := p.inForce.Load(); before != nil {
		next.loads += before.loads
	}
	p.inForce.Store(next)
	for _, k := range config.keys {
		if k.alone != nil {
			p.digests[k.String()] = k.digest
		}
	}
	p.recount()
	return nil
}

// Names lists the keys of the active configuration: see Configuration.Names.
func (p *Provider) Names() []string { return p.inForce.Load().Names() }

// Loads returns how many configurations were active since the start, and since when the current one is.
func (p *Provider) Loads() (count int, since time.Time) {
	now := p.inForce.Load()
	return now.loads, now.since
}

// WriteKey returns the active write key: the first one of the file, and for a KMS the key id that its plugin confirmed
// last. It does not encrypt to find out, because that would use up a nonce of a static key.
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

// load reads the file through upstream, which only accepts a path, and makes sure that it is what was checked.
func load(ctx context.Context, config Config, data []byte) (*encryptionconfig.EncryptionConfiguration, error) {
	// With reload set, upstream returns one health check for all plugins.
	loaded, err := encryptionconfig.LoadEncryptionConfig(ctx, config.File, true, config.APIServerID)
	if err != nil {
		return nil, err
	}
	if loaded.EncryptionFileContentHash != fmt.Sprintf("sha256:%x", sha256.Sum256(data)) {
		return nil, fmt.Errorf("the file changed during the load: %w", reload.ErrRetry)
	}
	if len(loaded.HealthChecks) != 1 {
		return nil, errors.New("expected one health check for all KMS plugins")
	}
	return loaded, nil
}

// waitHealthy waits until the KMS plugins of a new configuration answer. The error is retried: one may answer later.
func waitHealthy(ctx context.Context, loaded *encryptionconfig.EncryptionConfiguration) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 100*time.Millisecond, healthTimeout, true,
		func(ctx context.Context) (bool, error) {
			last = callCheck(ctx, loaded.HealthChecks[0].Check)
			return last == nil, nil
		})
	if err != nil {
		return fmt.Errorf("a KMS plugin of the new file does not answer (%w): %w", reload.ErrRetry,
			errors.Join(last, ctx.Err()))
	}
	return nil
}

// callCheck calls a health check outside of a request.
func callCheck(ctx context.Context, check func(*http.Request) error) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/readyz", http.NoBody)
	if err != nil {
		return err
	}
	return check(r)
}

// checkKMS checks the active plugins. Upstream caches the result for some seconds.
func (p *Provider) checkKMS(ctx context.Context) {
	err := callCheck(ctx, p.dynamic.Check)
	before := p.kms.Load()
	if err == nil {
		p.reached.Store(true)
	}
	switch {
	case err == nil && before != nil:
		klog.InfoS("The KMS plugins answer again")
		p.kms.Store(nil)
	case err != nil && before == nil:
		klog.ErrorS(err,
			"A KMS plugin is unavailable: values cannot be encrypted, and only decrypted if their data key is "+
				"cached; everything else works")
		p.kms.Store(&err)
	}
	kmsHealthy.Set(healthValue(err))
}

// FileFault returns why the current file is not active, or nil.
func (p *Provider) FileFault() error { return p.file.Fault() }

// KMSFault returns why a KMS plugin cannot be used, or nil.
func (p *Provider) KMSFault() error { return valueOf(&p.kms) }

// MissingFault returns which keys of stored values are missing from the file, or nil.
func (p *Provider) MissingFault() error { return valueOf(&p.missing) }

func valueOf(fault *atomic.Pointer[error]) error {
	if err := fault.Load(); err != nil {
		return *err
	}
	return nil
}

// StartupCheck keeps a server unready that has not reached its KMS since it started, so that a rollout with a wrong
// socket stops at its first Pod. It passes forever once every plugin has answered and that of the write key has wrapped
// a data key, and after grace: a node upgrade during a KMS outage must still end with servers that list and label.
// Without KMS it always passes.
func (p *Provider) StartupCheck(grace time.Duration) healthz.HealthChecker {
	return healthz.NamedCheck(StartupCheckName, func(*http.Request) error {
		if p.reached.Load() || time.Since(p.started) >= grace {
			return nil
		}
		return errors.New("the KMS plugins of --encryption-provider-config have not all answered since the start: " +
			"see the log")
	})
}

// StartupCheckName is the name of StartupCheck below /readyz.
const StartupCheckName = "kms-startup"

// transformer is upstream's, except that it opens values with known data keys directly.
type transformer struct {
	value.Transformer
	provider *Provider
}

// Transformer returns a transformer that always uses the active configuration.
func (p *Provider) Transformer() value.Transformer {
	return &transformer{Transformer: p.dynamic.TransformerForResource(secret.GroupResource), provider: p}
}

// TransformFromStorage opens data. It never reports data as stale: pkg/sealed compares key names.
func (t *transformer) TransformFromStorage(ctx context.Context, data []byte, dataCtx value.Context) ([]byte, bool,
	error) {
	keys := t.provider.keys.Load()
	if plain, known, err := keys.open(ctx, data, dataCtx); known {
		return plain, false, err
	}
	plain, _, err := t.Transformer.TransformFromStorage(ctx, data, dataCtx)
	if err == nil {
		keys.learn(data)
	}
	return plain, false, err
}
