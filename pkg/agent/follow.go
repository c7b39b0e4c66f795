// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/client"
)

// attemptTimeout is after how long of failed attempts the log says why.
const attemptTimeout = 10 * time.Second

// retryPause is the time between attempts to write files.
const retryPause = 5 * time.Second

// get returns the values of a plan. While the server is unavailable it retries until --timeout.
func (o *options) get(ctx context.Context, c *client.Client, p plan) (values, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	for {
		attempt, cancel := context.WithTimeout(ctx, attemptTimeout)
		values, err := c.Get(attempt, o.namespace, p.names()...)
		cancel()
		if err == nil {
			return values, nil
		}
		err = o.explain(err)
		if !errors.Is(err, client.ErrUnavailable) || ctx.Err() != nil {
			return nil, err
		}
		o.log.Printf("retrying: %s", oneLine(err))
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(jitter(time.Second)):
		}
	}
}

// jitter returns 50 to 150 % of a duration, so that not all Pods retry at the same time.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d) //nolint:gosec // nothing secret
}

// applyFunc puts a set of values into effect. After an error it is called again.
type applyFunc func(context.Context, values) error

// once applies the values of a plan.
func (o *options) once(ctx context.Context, p plan, apply applyFunc) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	values, err := o.get(ctx, c, p)
	if err != nil {
		return err
	}
	return apply(ctx, values)
}

// follow applies the values of a plan, and again whenever one changes, until ctx ends. It returns an error when the
// first set cannot be applied; a later set is retried.
func (o *options) follow(ctx context.Context, p plan, apply applyFunc) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	config := client.NewCacheConfig(o.namespace)
	config.MaxEntries = len(p.names())
	cache, err := client.NewCache(c, config) //nolint:contextcheck // it ends by Close
	if err != nil {
		return err
	}
	defer cache.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	late := time.AfterFunc(o.timeout, cancel)
	for applied := false; ; {
		for values, unread := range cache.WatchAll(ctx, p.names()...) {
			if err = unread; err != nil {
				err = o.explain(err)
			} else if err = apply(ctx, values); err == nil {
				applied = true
				late.Stop()
				continue
			}
			if !applied && !errors.Is(err, client.ErrUnavailable) {
				return err
			}
			prefix := map[bool]string{false: "retrying", true: "nothing was changed"}[applied]
			o.log.Printf("%s: %s", prefix, oneLine(err))
			if unread == nil {
				break // the next round applies the values of then
			}
		}
		select {
		case <-time.After(jitter(retryPause)):
		case <-ctx.Done():
			if applied {
				return nil
			}
			return cmp.Or(err, ctx.Err())
		}
	}
}

// fetch writes the files once.
func (o *options) fetch(ctx context.Context, p plan) error {
	v, err := o.openVolume()
	if err != nil {
		return err
	}
	defer v.close()
	return o.once(ctx, p, func(_ context.Context, values values) error {
		_, err := v.put(p, values)
		return err
	})
}

// openVolume opens --dir, and warns when its files would be on a disk.
func (o *options) openVolume() (*volume, error) {
	v, err := openVolume(o.dir, fs.FileMode(o.mode))
	if err == nil && !inMemory(o.dir) {
		o.log.Printf("warning: %s is not in memory: values are written to a disk; use emptyDir {medium: Memory}", o.dir)
	}
	return v, err
}
