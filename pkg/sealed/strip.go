// SPDX-License-Identifier: Apache-2.0

package sealed

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret"
)

// withSealed returns a copy of obj that holds the ciphertext in place of the value. A shallow copy is enough: the
// etcd3 store encodes it and lets go.
func withSealed(obj *secret.SecureValue, sealed []byte) *secret.SecureValue {
	stored := *obj
	stored.Spec.Value = nil
	stored.Sealed = sealed
	return &stored
}

// strip drops the ciphertext in place. The etcd3 store hands out freshly decoded objects, so nobody shares them yet.
func strip(obj runtime.Object) {
	if sv, ok := obj.(*secret.SecureValue); ok && sv != nil {
		sv.Sealed = nil
	}
}

// stripEvent drops the ciphertext of a watch event, which may be wrapped with the time it was decoded. It is not ok for an event
// that nobody is told of: see placedEvent.
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

// keepKeyName restores status.key of a deleted object that was decoded from the cache's suggestion: the suggestion has
// no envelope to read it from, but it was read from one.
func keepKeyName(out, suggestion runtime.Object) {
	deleted, ok := out.(*secret.SecureValue)
	if !ok || deleted.Status.Key != "" {
		return
	}
	if cached, ok := suggestion.(*secret.SecureValue); ok && cached != nil {
		deleted.Status.Key = cached.Status.Key
	}
}
