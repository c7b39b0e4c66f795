// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"iter"
	"time"
)

// retryPause is how long Watch waits before it asks again while the watch does not run or the server is out of reach.
const retryPause = time.Second

// Watch yields the value of name, and again whenever it is another one, until ctx ends or the cache is closed. It
// yields an error when there is no value, once for each kind of error, and goes on: a value that comes back is yielded.
//
// A value that is written again is yielded once it is different. Values that come faster than the loop takes them are
// left out, but never the last one.
func (c *Cache) Watch(ctx context.Context, name string) iter.Seq2[Value, error] {
	return func(yield func(Value, error) bool) {
		events, cancel := c.watched.subscribe(name)
		defer cancel()
		last := ""
		for {
			value, err := c.Get(ctx, name)
			if ctx.Err() != nil || c.watched.closed() {
				return
			}
			if now := fingerprint(value, err); now != last {
				last = now
				if !yield(value, err) {
					return
				}
			}
			if !c.await(ctx, name, err, events) {
				return
			}
		}
	}
}

// fingerprint tells apart what Watch has yielded from what is new.
func fingerprint(value Value, err error) string {
	if err != nil {
		return "error " + err.Error()
	}
	return "value " + value.Expose()
}

// await waits for an event, or until it is time to ask without one.
func (c *Cache) await(ctx context.Context, name string, err error, events <-chan struct{}) bool {
	timer := time.NewTimer(c.pause(name, err))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-events:
	case <-timer.C:
	}
	return !c.watched.closed()
}

// pause is short while no event would come: the watch does not run, or what was got is no answer of the server.
func (c *Cache) pause(name string, err error) time.Duration {
	settled := c.watched.running()
	if err != nil {
		settled = settled && !temporary(err)
	} else if settled {
		newest := c.watched.state(name)
		c.mu.Lock()
		e := c.entry(name)
		settled = e != nil && c.current(e, newest, c.now())
		c.mu.Unlock()
	}
	if settled {
		return c.config.MaxAge
	}
	return retryPause
}
