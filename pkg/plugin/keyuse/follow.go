// SPDX-License-Identifier: Apache-2.0

package keyuse

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
	"github.com/securevalue/secret-apiserver/pkg/plugin/hint"
)

const (
	// probeEvery is how often --watch asks for the write key: a rotation may begin while it runs.
	probeEvery = 5 * time.Second
	// listPause is the least time between two lists, when the server ends every watch at once.
	listPause = time.Second
)

var errInterrupted = errors.New("interrupted before the rotation was complete; it goes on without you")

// follower shows how far a rotation is, on a terminal by a bar, else by a line for each change.
type follower struct {
	survey *survey
	out    io.Writer
	bar    *cli.Bar
	shown  string
}

// run returns once every value is under the write key.
func (f *follower) run(ctx context.Context) (*tally, error) {
	defer f.bar.End()
	for {
		t, version, err := f.survey.list(ctx, nil)
		if err != nil {
			return nil, interruptedOr(ctx, hint.API("listing the values", err))
		}
		if err := f.survey.probe(ctx, t); err != nil {
			return nil, interruptedOr(ctx, err)
		}
		if f.show(t); t.done() {
			return t, nil
		}
		if err := f.watch(ctx, t, version); err != nil {
			return nil, interruptedOr(ctx, err)
		}
		if t.done() {
			return t, nil
		}
		select {
		case <-ctx.Done():
			return nil, errInterrupted
		case <-time.After(listPause):
		}
	}
}

func interruptedOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errInterrupted
	}
	return err
}

// watch follows changes until all is done or the server ends the watch.
func (f *follower) watch(ctx context.Context, t *tally, version string) error {
	watcher, err := f.survey.client.SecureValues(f.survey.namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true})
	if err != nil {
		return hint.API("watching the values", err)
	}
	defer watcher.Stop()
	again := time.NewTicker(probeEvery)
	defer again.Stop()
	for !t.done() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-again.C:
			if err := f.survey.probe(ctx, t); err != nil {
				return err
			}
		case event, ok := <-watcher.ResultChan():
			if !ok || event.Type == watch.Error {
				return nil // a new list knows more
			}
			apply(t, event)
		}
		f.show(t)
	}
	return nil
}

func apply(t *tally, event watch.Event) {
	sv, ok := event.Object.(*v1beta1.SecureValue)
	switch {
	case !ok || event.Type == watch.Bookmark:
	case event.Type == watch.Deleted:
		t.remove(sv)
	default:
		t.put(sv)
	}
}

// show draws the bar, or prints the counts when they changed.
func (f *follower) show(t *tally) {
	if f.bar != nil {
		f.bar.Set(t.fresh(), t.total())
		return
	}
	text := fmt.Sprintf("%d of %d values under %s", t.fresh(), t.total(), t.writeKey)
	if text != f.shown && t.total() > 0 {
		_, _ = fmt.Fprintln(f.out, text) // progress, no result
	}
	f.shown = text
}
