// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"

	"k8s.io/apimachinery/pkg/watch"
)

// watchBuffer is as long as the etcd3 store's own: events that arrived before Stop can still be read after it.
const watchBuffer = 100

// strippedWatch passes the events of a watch on without ciphertexts. It is no watch.Filter, because that one hangs for
// ever with the event in its hands when its reader stops.
type strippedWatch struct {
	incoming watch.Interface
	result   chan watch.Event
	cancel   context.CancelFunc
}

// newStrippedWatch takes over incoming, which must end with ctx, and cancel, which must end ctx.
func newStrippedWatch(ctx context.Context, cancel context.CancelFunc, incoming watch.Interface) *strippedWatch {
	w := &strippedWatch{incoming: incoming, result: make(chan watch.Event, watchBuffer), cancel: cancel}
	go w.run(ctx)
	return w
}

// ResultChan implements watch.Interface.
func (w *strippedWatch) ResultChan() <-chan watch.Event { return w.result }

// Stop implements watch.Interface. It may be called more than once.
func (w *strippedWatch) Stop() {
	w.incoming.Stop()
	w.cancel()
}

func (w *strippedWatch) run(ctx context.Context) {
	defer close(w.result)
	defer w.cancel()
	for event := range w.incoming.ResultChan() {
		event, ok := stripEvent(event)
		if !ok {
			continue
		}
		select {
		case w.result <- event:
		case <-ctx.Done():
			return
		}
	}
}
