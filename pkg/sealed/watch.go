// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"context"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// watchBuffer is that of the etcd3 store: events that arrived before Stop can still be read after it.
const watchBuffer = 100

// strippedWatch passes on the events of a watch without ciphertexts. watch.Filter would block forever on an event when
// its reader stops.
type strippedWatch struct {
	incoming watch.Interface
	result   chan watch.Event
	cancel   context.CancelFunc
}

// newStrippedWatch owns incoming, which must end with ctx, and cancel, which must end ctx.
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

// stripEvent drops the ciphertext of a watch event, which may be wrapped with the time of its decoding. It is not ok
// for an event to omit: see placedEvent.
func stripEvent(event watch.Event) (stripped watch.Event, ok bool) {
	obj := event.Object
	if wrapped, ok := obj.(storage.WatchEventWithRecordTime); ok {
		obj = wrapped.Unwrap()
	}
	if sv, isValue := obj.(*secret.SecureValue); isValue {
		if event.Type, ok = placedEvent(event.Type, sv); !ok {
			return event, false
		}
	}
	strip(obj)
	return event, true
}

// placedEvent returns the type of an event as watches see it. Replacing an object by a misplaced record deletes it;
// other events about misplaced records are omitted, since no client knows these.
func placedEvent(kind watch.EventType, obj *secret.SecureValue) (seen watch.EventType, ok bool) {
	if !isMisplaced(obj) {
		return kind, true
	}
	logMisplaced(obj)
	return watch.Deleted, kind == watch.Modified
}
