// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"k8s.io/utils/lru"

	"github.com/securevalue/secret-apiserver/pkg/generated/clientset/versioned"
)

// CacheConfig configures what a Cache watches and keeps. NewCacheConfig returns the defaults.
type CacheConfig struct {
	// Namespace of the secure values.
	Namespace string
	// Decrypter is the name of this service in spec.decrypters. When set, only values that list it are watched.
	Decrypter string
	// MaxEntries is the maximum number of cached values; the least recently used is evicted first.
	MaxEntries int
	// MaxAge is how long an unchanged value is served without a request. It bounds how late a service notices revoked
	// permissions, which metadata does not show.
	MaxAge time.Duration
	// MaxStale is how long an old value is served while the server is unavailable, from the first failed attempt. 0
	// serves none. A value that the server denies is never served again.
	MaxStale time.Duration
}

// NewCacheConfig returns the defaults for a namespace.
func NewCacheConfig(namespace string) CacheConfig {
	return CacheConfig{Namespace: namespace, MaxEntries: 1000, MaxAge: 10 * time.Minute, MaxStale: 5 * time.Minute}
}

func (c CacheConfig) validate() error {
	if c.Namespace == "" {
		return errors.New("decrypt cache: Namespace is required")
	}
	if c.MaxEntries < 1 || c.MaxAge <= 0 || c.MaxStale < 0 {
		return errors.New("decrypt cache: MaxEntries and MaxAge must be positive, MaxStale not negative")
	}
	return nil
}

const (
	// refreshTimeout bounds a fetch that has an old value to fall back to, so that an outage does not slow down a
	// service that has what it needs.
	refreshTimeout = 2 * time.Second
	// refreshPause is the time between such fetches after a failure.
	refreshPause = time.Second
)

// getter is what a Cache needs of a Client.
type getter interface {
	GetOne(ctx context.Context, namespace, name string) (Value, error)
}

// Cache keeps decrypted values while the metadata of their secure values shows that they are the newest. It requires
// permission to list and watch securevalues in its namespace.
//
// While the watch runs, a cached value costs no request, and one that was changed, deleted, recreated or withdrawn is
// fetched again by the next Get. While it does not run every Get is a request; see CacheConfig.MaxStale for what
// happens when that fails too.
type Cache struct {
	client  getter
	config  CacheConfig
	timeout time.Duration
	watched *metadata
	flights singleflight.Group
	now     func() time.Time
	stop    context.CancelFunc
	stopped sync.WaitGroup

	mu      sync.Mutex
	entries *lru.Cache // name → *entry
}

// entry is a value and the state of its object before it was fetched. When that was unknown, the value is only a
// fallback for a failed fetch.
type entry struct {
	value   Value
	state   state
	fetched time.Time
	// failing is when fetches started to fail, next when the next one is due.
	failing, next time.Time
}

// NewCache returns a cache that watches until Close. It does not wait for the first list: until then every Get is a
// request. api reads the metadata of secure values; decrypt fetches the values.
func NewCache(decrypt *Client, api versioned.Interface, config CacheConfig) (*Cache, error) {
	return newCache(decrypt, decrypt.timeout, api, config)
}

func newCache(decrypt getter, timeout time.Duration, api versioned.Interface, config CacheConfig) (*Cache, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	c := &Cache{client: decrypt, config: config, timeout: timeout, now: time.Now, entries: lru.New(config.MaxEntries)}
	watched, err := newMetadata(api, config, c.forget)
	if err != nil {
		return nil, err
	}
	c.watched = watched
	ctx, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.stopped.Go(func() { watched.run(ctx) })
	return c, nil
}

// Close stops the watch and drops all values. Get returns ErrClosed from then on.
func (c *Cache) Close() {
	c.stop()
	c.stopped.Wait()
	c.watched.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Clear()
}

// ErrClosed is returned by a cache that is closed.
var ErrClosed = errors.New("the decrypt cache is closed")

// Get returns a value, from the cache when that is the newest. Its errors are those of Client.Get.
func (c *Cache) Get(ctx context.Context, name string) (Value, error) {
	if c.watched.closed() {
		return Value{}, ErrClosed
	}
	newest := c.watched.state(name)
	if value, ok := c.kept(name, newest); ok {
		return value, nil
	}
	// Callers with the same state of a name share a request, which outlives the caller that started it.
	flight := c.flights.DoChan(fmt.Sprint(name, newest), func() (any, error) {
		if value, ok := c.kept(name, newest); ok { // by a request that ended since this caller checked
			return value, nil
		}
		return c.fetch(context.WithoutCancel(ctx), name, newest)
	})
	select {
	case result := <-flight:
		if result.Err != nil {
			return Value{}, result.Err
		}
		return result.Val.(Value), nil
	case <-ctx.Done():
		return Value{}, ctx.Err()
	}
}

// kept returns a value that may be served without a request.
func (c *Cache) kept(name string, newest state) (Value, bool) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entry(name)
	if e == nil {
		return Value{}, false
	}
	waiting := now.Before(e.next) && c.standsIn(e, now)
	return e.value, waiting || c.current(e, newest, now)
}

// current reports whether a value is known to be the newest.
func (c *Cache) current(e *entry, newest state, now time.Time) bool {
	return newest.watched && newest == e.state && now.Sub(e.fetched) < c.config.MaxAge
}

// standsIn reports whether an old value may be served after a failed fetch.
func (c *Cache) standsIn(e *entry, now time.Time) bool {
	return c.config.MaxStale > 0 && (e.failing.IsZero() || now.Sub(e.failing) < c.config.MaxStale)
}

func (c *Cache) entry(name string) *entry {
	if found, ok := c.entries.Get(name); ok {
		return found.(*entry)
	}
	return nil
}

// fetch requests a value and caches it. before is the state of the object at that time: the answer is at least as new.
func (c *Cache) fetch(ctx context.Context, name string, before state) (Value, error) {
	ctx, cancel := context.WithTimeout(ctx, c.patience(name))
	defer cancel()
	value, err := c.client.GetOne(ctx, c.config.Namespace, name)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		return c.failed(name, err)
	}
	if !c.watched.closed() {
		c.entries.Add(name, &entry{value: value, state: before, fetched: c.now()})
	}
	return value, nil
}

// patience is how long a fetch may take.
func (c *Cache) patience(name string) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entry(name); e != nil && c.standsIn(e, c.now()) {
		return min(refreshTimeout, c.timeout)
	}
	return c.timeout
}

// failed serves an old value when the server is unavailable, and drops it when the server denied it.
func (c *Cache) failed(name string, err error) (Value, error) {
	e := c.entry(name)
	if e == nil {
		return Value{}, err
	}
	now := c.now()
	if !temporary(err) || !c.standsIn(e, now) {
		c.entries.Remove(name)
		return Value{}, err
	}
	if e.failing.IsZero() {
		e.failing = now
	}
	e.next = now.Add(refreshPause)
	return e.value, nil
}

func temporary(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// forget drops the value of a deleted object.
func (c *Cache) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Remove(name)
}
