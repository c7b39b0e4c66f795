// SPDX-License-Identifier: Apache-2.0

package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/singleflight"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/secretwatchv1"
)

// CacheConfig configures what a Cache keeps. NewCacheConfig returns the defaults.
type CacheConfig struct {
	// Namespace of the secure values.
	Namespace string
	// MaxEntries is the maximum number of cached values; the least recently used is evicted first.
	MaxEntries int
	// MaxAge is how long an unchanged value is served without a request, and how often Watch asks a server that has no
	// stream of changes.
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

// source is what a Cache needs of a Client.
type source interface {
	fetch(ctx context.Context, namespace string, names []string) *results
	watch(ctx context.Context, namespace string, names []string) (
		*connect.ServerStreamForClient[secretwatchv1.WatchEvent], error)
}

// Cache keeps decrypted values while the stream of changes of the decrypt port shows that they are the newest. It needs
// no permission but those of Client.Get.
//
// While the stream is open, a cached value costs no request, and one that was changed, deleted, recreated or withdrawn
// is fetched again by the next Get. While it is not, every Get is a request; see CacheConfig.MaxStale for what happens
// when that fails too.
type Cache struct {
	client  source
	config  CacheConfig
	timeout time.Duration
	follow  *follower
	flights singleflight.Group
	now     func() time.Time

	mu      sync.Mutex
	entries map[string]*entry
	fetches int64 // that were started
	uses    int64 // of entries
}

// entry is a value, or why there is none, and the state of its name before it was fetched. When that was unknown, the
// value is only a fallback for a failed fetch. Only values are kept.
type entry struct {
	value   Value
	err     error
	state   state
	fetched time.Time
	// fetch numbers fetches: one that started later is at least as new.
	fetch int64
	used  int64
	// failing is when fetches started to fail, next when the next one is due.
	failing, next time.Time
}

// NewCache returns a cache, which follows the names that it is asked for until Close.
func NewCache(decrypt *Client, config CacheConfig) (*Cache, error) {
	return newCache(decrypt, decrypt.timeout, config, usualTiming)
}

func newCache(decrypt source, timeout time.Duration, config CacheConfig, timing timing) (*Cache, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	c := &Cache{client: decrypt, config: config, timeout: timeout, now: time.Now, entries: map[string]*entry{}}
	c.follow = newFollower(timing)
	c.follow.gone = c.forget
	c.follow.open = func(ctx context.Context, names []string) (
		*connect.ServerStreamForClient[secretwatchv1.WatchEvent], error,
	) {
		return decrypt.watch(ctx, config.Namespace, names)
	}
	return c, nil
}

// Close ends the streams and drops all values. Get returns ErrClosed from then on.
func (c *Cache) Close() {
	c.follow.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.entries)
}

// ErrClosed is returned by a cache that is closed.
var ErrClosed = errors.New("the decrypt cache is closed")

// Get returns a value, from the cache when that is the newest. Its errors are those of Client.Get.
func (c *Cache) Get(ctx context.Context, name string) (Value, error) {
	if c.follow.closed() {
		return Value{}, ErrClosed
	}
	newest := c.follow.state(name)
	if e, ok := c.kept(name, newest); ok {
		return e.value, nil
	}
	// Callers with the same state of a name share a request, which outlives the caller that started it.
	flight := c.flights.DoChan(fmt.Sprint(name, newest), func() (any, error) {
		if e, ok := c.kept(name, newest); ok { // by a request that ended since this caller checked
			return e.value, nil
		}
		e := c.fetch(context.WithoutCancel(ctx), map[string]state{name: newest})[name]
		return e.value, e.err
	})
	select {
	case result := <-flight:
		return result.Val.(Value), result.Err
	case <-ctx.Done():
		return Value{}, ctx.Err()
	}
}

// kept returns a value that may be served without a request.
func (c *Cache) kept(name string, newest state) (entry, bool) {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[name]
	if e == nil {
		return entry{}, false
	}
	c.uses++
	e.used = c.uses
	waiting := now.Before(e.next) && c.standsIn(e, now)
	return *e, waiting || c.current(e, newest, now)
}

// current reports whether an answer is known to be the newest. A refused token is not an answer: another one may be in
// its file soon, and no event of an open stream would tell.
func (c *Cache) current(e *entry, newest state, now time.Time) bool {
	return newest.live && (newest == e.state || newest == e.told()) && now.Sub(e.fetched) < c.config.MaxAge &&
		!temporary(e.err) && !errors.Is(e.err, ErrUnauthenticated)
}

// told returns the state that is in the answer itself, so that an event about what was fetched before it arrived is no
// reason to fetch again. It is unknown when the server does not send it.
func (e *entry) told() state {
	absent := errors.Is(e.err, ErrNotFound) || errors.Is(e.err, ErrNotAuthorized)
	return state{live: absent || e.value.uid != "", uid: e.value.uid, version: e.value.version}
}

// standsIn reports whether an old value may be served after a failed fetch.
func (c *Cache) standsIn(e *entry, now time.Time) bool {
	return c.config.MaxStale > 0 && (e.failing.IsZero() || now.Sub(e.failing) < c.config.MaxStale)
}

// fetch requests names in one call and keeps the values. before has the states of the names at that time: the answers
// are at least as new.
func (c *Cache) fetch(ctx context.Context, before map[string]state) map[string]entry {
	c.mu.Lock()
	c.fetches++
	fetch, patience := c.fetches, c.patience(before)
	c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	got := c.client.fetch(ctx, c.config.Namespace, slices.Collect(maps.Keys(before)))
	c.mu.Lock()
	defer c.mu.Unlock()
	answers := make(map[string]entry, len(before))
	for name, state := range before {
		e := entry{state: state, fetch: fetch, fetched: c.now()}
		e.value, e.err = got.of(name)
		answers[name] = c.settle(name, &e)
	}
	return answers
}

// patience is how long a fetch may take: not long when there is an old value for each name.
func (c *Cache) patience(names map[string]state) time.Duration {
	for name := range names {
		if e := c.entries[name]; e == nil || !c.standsIn(e, c.now()) {
			return c.timeout
		}
	}
	return min(refreshTimeout, c.timeout)
}

// settle keeps a value, and drops one that the server denied. It returns the answer to serve: the old value when a
// later fetch brought it, or when the server is unavailable.
func (c *Cache) settle(name string, e *entry) entry {
	old := c.entries[name]
	switch {
	case old != nil && old.fetch > e.fetch:
		return *old
	case e.err == nil:
		c.keep(name, e)
	case old == nil:
	case temporary(e.err) && c.standsIn(old, e.fetched):
		if old.failing.IsZero() {
			old.failing = e.fetched
		}
		old.next = e.fetched.Add(refreshPause)
		return *old
	default:
		c.drop(name)
	}
	return *e
}

// keep stores a value, unless it was deleted or withdrawn since, and evicts the one that was not used for longest.
func (c *Cache) keep(name string, e *entry) {
	if now := c.follow.state(name); c.follow.closed() || now.live && now.version == 0 {
		return
	}
	c.uses++
	e.used = c.uses
	c.entries[name] = e
	c.follow.keep(name)
	if len(c.entries) > c.config.MaxEntries {
		c.drop(slices.MinFunc(slices.Collect(maps.Keys(c.entries)), func(a, b string) int {
			return cmp.Compare(c.entries[a].used, c.entries[b].used)
		}))
	}
}

func (c *Cache) drop(name string) {
	delete(c.entries, name)
	c.follow.drop(name)
}

func temporary(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// forget drops the value of a name under which there is nothing any more.
func (c *Cache) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(name)
}
