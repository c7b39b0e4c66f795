// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/client"
)

// attemptTimeout is after how long of failed attempts the log says why.
const attemptTimeout = 10 * time.Second

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

// once applies the values of a plan.
func (o *options) once(ctx context.Context, p plan, apply func(values) error) error {
	c, err := o.connect()
	if err != nil {
		return err
	}
	defer c.Close()
	values, err := o.get(ctx, c, p)
	if err != nil {
		return err
	}
	return apply(values)
}

// fetch writes the files once.
func (o *options) fetch(ctx context.Context, p plan) error {
	v, err := o.openVolume()
	if err != nil {
		return err
	}
	defer v.close()
	return o.once(ctx, p, func(values values) error {
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
