// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"maps"
	"sync"

	"k8s.io/client-go/tools/cache"

	"github.com/securevalue/secret-apiserver/pkg/apis/secret/v1beta1"
)

// tally counts values by the key that seals them, deleted objects without a ciphertext left out, from the events of the informer: a scrape need not walk the cache.
type tally struct {
	mu    sync.Mutex
	byKey map[string]int
	total int
}

var _ cache.ResourceEventHandler = (*tally)(nil)

func newTally() *tally { return &tally{byKey: map[string]int{}} }

// OnAdd implements cache.ResourceEventHandler.
func (t *tally) OnAdd(obj any, _ bool) { t.count(obj, 1) }

// OnUpdate implements cache.ResourceEventHandler.
func (t *tally) OnUpdate(before, after any) {
	t.count(before, -1)
	t.count(after, 1)
}

// OnDelete implements cache.ResourceEventHandler.
func (t *tally) OnDelete(obj any) {
	if lost, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = lost.Obj
	}
	t.count(obj, -1)
}

func (t *tally) count(obj any, change int) {
	sv, ok := obj.(*v1beta1.SecureValue)
	if !ok || emptied(sv) {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total += change
	t.byKey[sv.Status.Key] += change
	if t.byKey[sv.Status.Key] == 0 {
		delete(t.byKey, sv.Status.Key)
	}
}

// keys returns how many values each key seals.
func (t *tally) keys() map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.byKey)
}

// stale returns how many values another key than writeKey seals; none while the write key is not known.
func (t *tally) stale(writeKey string) int {
	if writeKey == "" {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total - t.byKey[writeKey]
}
