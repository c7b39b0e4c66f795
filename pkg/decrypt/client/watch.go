// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"time"
)

const (
	// retryPause is how often Watch fetches while no stream is open or the server is unavailable.
	retryPause = time.Second
	// gatherPause is how long WatchAll waits after an event for others, to fetch what changed together by one call.
	gatherPause = 50 * time.Millisecond
)

// subdomain is what names are.
var subdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

// Watch yields the value of name, and again whenever it changes, until ctx ends or the cache is closed. It yields an
// error instead of a value, once per kind of error, and continues: a value that comes back is yielded.
//
// A rewrite with the same value yields nothing. Values that change faster than the loop runs are skipped, but never the
// last one.
func (c *Cache) Watch(ctx context.Context, name string) iter.Seq2[Value, error] {
	return func(yield func(Value, error) bool) {
		for values, err := range c.WatchAll(ctx, name) {
			if !yield(values[name], err) {
				return
			}
		}
	}
}

// WatchAll is Watch for several names: it yields all values, and all of them again whenever one changes. Names that
// changed within 50 ms of one another are fetched by one call, so their values are of one revision when there are at
// most 128. A value is never followed by an older one.
//
// When some names do not open, the error joins one *NameError for each, as that of Client.Get, and comes with the
// values of the others.
//
// A name that no secure value can have ends the loop with an error.
func (c *Cache) WatchAll(ctx context.Context, names ...string) iter.Seq2[map[string]Value, error] {
	invalid := slices.IndexFunc(names, func(name string) bool {
		return len(name) > 253 || !subdomain.MatchString(name)
	})
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	return func(yield func(map[string]Value, error) bool) {
		if invalid >= 0 { // the server would refuse all names of the call or stream
			yield(nil, fmt.Errorf("decrypt cache: names[%d] must be a DNS-1123 subdomain: "+
				"up to 253 lower case letters, digits, '-' and '.'", invalid))
			return
		}
		events, cancel := c.follow.subscribe(names)
		defer cancel()
		if !c.opened(ctx, names, events) {
			return
		}
		answers := make(map[string]entry, len(names))
		var shown map[string]string
		for {
			c.renew(ctx, names, answers)
			if ctx.Err() != nil || c.follow.closed() {
				return
			}
			values, prints, err := set(names, answers)
			if shown == nil || !maps.Equal(prints, shown) {
				shown = prints
				if !yield(values, err) {
					return
				}
			}
			if !c.await(ctx, c.pause(names, answers), events) {
				return
			}
		}
	}
}

// opened waits until streams cover all names, or cannot be opened.
func (c *Cache) opened(ctx context.Context, names []string, events <-chan struct{}) bool {
	late := time.NewTimer(c.follow.timing.patience)
	defer late.Stop()
	for !c.follow.closed() && slices.ContainsFunc(names, func(name string) bool {
		return !c.follow.state(name).live && c.follow.fault(name) == nil
	}) {
		select {
		case <-ctx.Done():
			return false
		case <-events:
		case <-late.C:
			return true
		}
	}
	return !c.follow.closed()
}

// renew brings answers up to date, with one call for all names whose answer may not be the newest. It never takes an
// answer of an earlier fetch for one that it has.
func (c *Cache) renew(ctx context.Context, names []string, answers map[string]entry) {
	before := map[string]state{}
	for _, name := range names {
		newest := c.follow.state(name)
		last := answers[name]
		kept, ok := c.kept(name, newest)
		switch {
		case ok && kept.fetch >= last.fetch:
			answers[name] = kept
		case !ok && !c.current(&last, newest, c.now()):
			before[name] = newest
		}
	}
	if len(before) == 0 {
		return
	}
	for name, answer := range c.fetch(ctx, before) {
		if answer.fetch >= answers[name].fetch {
			answers[name] = answer
		}
	}
}

// set returns the values and the joined error of answers, and of each name what identifies its value or kind of error.
func set(names []string, answers map[string]entry) (values map[string]Value, prints map[string]string, _ error) {
	values, prints = make(map[string]Value, len(names)), make(map[string]string, len(names))
	var failed []error
	for _, name := range names {
		answer := answers[name]
		if answer.err == nil {
			values[name] = answer.value
			prints[name] = "value " + answer.value.Expose()
			continue
		}
		prints[name] = "error " + kind(answer.err).Error()
		if !slices.Contains(failed, answer.err) { // one of the whole call
			failed = append(failed, answer.err)
		}
	}
	return values, prints, errors.Join(failed...)
}

// await waits for an event, or until it is time to fetch without one.
func (c *Cache) await(ctx context.Context, pause time.Duration, events <-chan struct{}) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-events:
		if !c.follow.closed() {
			sleep(ctx, gatherPause)
		}
	}
	return ctx.Err() == nil && !c.follow.closed()
}

// pause is how long no answer has to be fetched again without an event. It is short while none would come: no stream is
// open, or the last result is not an answer of the server.
func (c *Cache) pause(names []string, answers map[string]entry) time.Duration {
	pause := c.config.MaxAge
	for _, name := range names {
		answer := answers[name]
		switch age := c.now().Sub(answer.fetched); {
		case c.current(&answer, c.follow.state(name), c.now()):
			pause = min(pause, c.config.MaxAge-age)
		case !absent(c.follow.fault(name)) || temporary(answer.err) || !answer.failing.IsZero():
			pause = min(pause, retryPause)
		}
	}
	return pause
}
