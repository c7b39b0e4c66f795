// SPDX-License-Identifier: Apache-2.0

package decrypt

import (
	"context"
	"time"

	"golang.org/x/sync/singleflight"
	utilcache "k8s.io/apimachinery/pkg/util/cache"
)

const (
	// cacheSize bounds how many answers are kept: callers times namespaces, and names for callers with resourceNames.
	cacheSize = 16384
	// askTimeout bounds a question that several requests wait for.
	askTimeout = 10 * time.Second
)

// cache keeps answers for a short time and asks once for all who want the same answer at once. An answer is never older
// than ttl, counted from before the question was asked. Errors are not kept.
type cache[V any] struct {
	ttl     time.Duration
	answers *utilcache.LRUExpireCache
	flights singleflight.Group
}

func newCache[V any](ttl time.Duration) *cache[V] {
	return &cache[V]{ttl: ttl, answers: utilcache.NewLRUExpireCache(cacheSize)}
}

// peek returns an answer that is kept.
func (c *cache[V]) peek(key string) (V, bool) {
	kept, ok := c.answers.Get(key)
	if !ok {
		var none V
		return none, false
	}
	return kept.(V), true
}

// get returns the kept answer, or asks. With a ttl of zero every request asks for itself.
func (c *cache[V]) get(ctx context.Context, key string, ask func(context.Context) (V, error)) (V, error) {
	if c.ttl <= 0 {
		return ask(ctx)
	}
	if kept, ok := c.peek(key); ok {
		return kept, nil
	}
	flight := c.flights.DoChan(key, func() (any, error) { return c.ask(ctx, key, ask) })
	select {
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	case result := <-flight:
		if result.Err != nil {
			var none V
			return none, result.Err
		}
		return result.Val.(V), nil
	}
}

// ask outlives the request that happened to start it: others wait for the same answer.
func (c *cache[V]) ask(ctx context.Context, key string, ask func(context.Context) (V, error)) (V, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
	defer cancel()
	asked := time.Now()
	answer, err := ask(ctx)
	if left := c.ttl - time.Since(asked); err == nil && left > 0 {
		c.answers.Add(key, answer, left)
	}
	return answer, err
}
