// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
	"github.com/securevalue/secret-apiserver/pkg/internal/cli"
)

const (
	// probeInterval is how often --watch looks up the active key: a rotation may start while it runs.
	probeInterval = 5 * time.Second
	// listPause is the minimum time between two lists if the server ends every watch immediately.
	listPause = time.Second
)

var errFollowInterrupted = errors.New("interrupted before the rotation was complete; the rotation continues")

// follower shows the progress of a rotation: a bar on a terminal, else a line for each change.
type follower struct {
	*survey
	out   io.Writer
	bar   *cli.Bar
	shown string
}

// follow returns when every value is under the active key.
func (s *survey) follow(ctx context.Context, errOut io.Writer) (*tally, error) {
	f := &follower{survey: s, out: errOut, bar: cli.New(errOut, cli.Count("values under the new key"))}
	defer f.bar.End()
	for {
		t, err := f.round(ctx)
		switch {
		case ctx.Err() != nil && (err != nil || !t.done()):
			return nil, errFollowInterrupted
		case err != nil:
			return nil, err
		case t.done():
			return t, nil
		}
		select {
		case <-ctx.Done():
			return nil, errFollowInterrupted
		case <-time.After(listPause):
		}
	}
}

// round lists the values and watches them until all are done or the server ends the watch.
func (f *follower) round(ctx context.Context) (*tally, error) {
	t, version, err := f.list(ctx, nil)
	if err != nil {
		return nil, err
	}
	if err := f.probe(ctx, t); err != nil {
		return nil, err
	}
	if f.show(t); t.done() {
		return t, nil
	}
	options := metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true}
	watcher, err := f.client.SecureValues(f.namespace).Watch(ctx, options)
	if err != nil {
		return nil, apiError("watching the values", err)
	}
	defer watcher.Stop()
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	for !t.done() {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-ticker.C:
			if err := f.probe(ctx, t); err != nil {
				return nil, err
			}
		case event, ok := <-watcher.ResultChan():
			if !ok || event.Type == watch.Error {
				return t, nil // the next round lists again
			}
			t.apply(event)
		}
		f.show(t)
	}
	return t, nil
}

func (t *tally) apply(event watch.Event) {
	sv, ok := event.Object.(*v1beta1.SecureValue)
	switch {
	case !ok || event.Type == watch.Bookmark:
	case event.Type == watch.Deleted:
		t.remove(sv)
	default:
		t.put(sv)
	}
}

// show draws the bar, or prints the counts if they changed.
func (f *follower) show(t *tally) {
	if f.bar != nil {
		f.bar.Set(t.fresh(), t.total())
		return
	}
	text := fmt.Sprintf("%d of %d values under %s", t.fresh(), t.total(), t.writeKey)
	if text != f.shown && t.total() > 0 {
		_, _ = fmt.Fprintln(f.out, text) // progress, not a result
	}
	f.shown = text
}
