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

const (
	// refreshTimeout bounds a fetch for which an old value could stand in, so that an outage does not slow down a
	// service that has what it needs.
	refreshTimeout = 2 * time.Second
	// refreshPause is the time between such fetches once one failed.
	refreshPause = time.Second
)

// getter is what a Cache needs of a Client.
type getter interface {
	GetOne(ctx context.Context, namespace, name string) (Value, error)
}

// Cache keeps decrypted values as long as the metadata of their secure values says that they are the newest. It needs
// the right to list and watch securevalues in its namespace.
//
// While the watch runs, a value that is kept costs no request, and one that was changed, deleted, made anew or
// withdrawn is fetched again at the next Get. While it does not run every Get asks the server; see CacheConfig.MaxStale
// for what happens when that fails too.
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

// entry is a value and what was known of its object before it was fetched. When that was nothing, the value only ever
// stands in for one that cannot be fetched.
type entry struct {
	value   Value
	state   state
	fetched time.Time
	// failing is since when it could not be fetched again, next when that is tried again.
	failing, next time.Time
}

// NewCache returns a cache that watches until Close. It does not wait for the first answer: until it is there Get asks
// the server each time. api reads the metadata of secure values; decrypt fetches the values.
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

// Close stops the watch and forgets all values. Get returns ErrClosed from then on.
func (c *Cache) Close() {
	c.stop()
	c.stopped.Wait()
	c.watched.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Clear()
}

// ErrClosed says that the cache is closed.
var ErrClosed = errors.New("the decrypt cache is closed")

// Get returns a value: the one that is kept when it is the newest, else a new one. Its errors are those of Client.Get.
func (c *Cache) Get(ctx context.Context, name string) (Value, error) {
	if c.watched.closed() {
		return Value{}, ErrClosed
	}
	newest := c.watched.state(name)
	if value, ok := c.kept(name, newest); ok {
		return value, nil
	}
	// Callers who know the same of one name share a request, which does not end with the caller who came first.
	flight := c.flights.DoChan(fmt.Sprint(name, newest), func() (any, error) {
		if value, ok := c.kept(name, newest); ok { // by a request that ended since this caller looked
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

// kept returns a value that may be served without asking.
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

// current says whether a value is known to be the newest.
func (c *Cache) current(e *entry, newest state, now time.Time) bool {
	return newest.watched && newest == e.state && now.Sub(e.fetched) < c.config.MaxAge
}

// standsIn says whether an old value may be served after a fetch that failed.
func (c *Cache) standsIn(e *entry, now time.Time) bool {
	return c.config.MaxStale > 0 && (e.failing.IsZero() || now.Sub(e.failing) < c.config.MaxStale)
}

func (c *Cache) entry(name string) *entry {
	if found, ok := c.entries.Get(name); ok {
		return found.(*entry)
	}
	return nil
}

// fetch asks the server and keeps what it answers. before is what was known of the object: the answer is at least as
// new.
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

// failed serves an old value when the server was out of reach, and forgets it when the server denied it.
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

// forget drops the value of an object that is gone.
func (c *Cache) forget(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries.Remove(name)
}
