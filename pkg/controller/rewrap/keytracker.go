// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// maxDoublings bounds how often the settle time of one key is doubled.
const maxDoublings = 10

// keyTracker decides which key is the write key, out of answers that may come from replicas of the server that read
// their configuration at different times.
//
// A key is believed once all answers of a settle time named it. Going back to a key that was left before takes twice as
// long each time: replicas that disagree for ever (one has kept its last good file) would otherwise have all values
// moved to and fro as often as the connection changes from one replica to another.
type keyTracker struct {
	settle time.Duration
	clock  clock.PassiveClock

	mu        sync.Mutex
	believed  string
	candidate string    // what the last answer named
	since     time.Time // when the answers began to name it
	left      map[string]int
}

func newKeyTracker(settle time.Duration, clock clock.PassiveClock) *keyTracker {
	return &keyTracker{settle: settle, clock: clock, left: map[string]int{}}
}

// observe notes an answer of the server. It returns true when that changes what is believed.
func (k *keyTracker) observe(key string) bool {
	if key == "" {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.clock.Now()
	if key != k.candidate {
		k.candidate, k.since = key, now
	}
	if key == k.believed || now.Sub(k.since) < k.hold(key) {
		return false
	}
	if k.believed != "" {
		k.left[k.believed]++
	}
	k.believed = key
	return true
}

func (k *keyTracker) hold(key string) time.Duration {
	return k.settle << min(k.left[key], maxDoublings)
}

// key returns the write key, or "" while none is believed.
func (k *keyTracker) key() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.believed
}

// unsettled returns the key that the last answer named when it is not the one that is believed, else "".
func (k *keyTracker) unsettled() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.candidate == k.believed {
		return ""
	}
	return k.candidate
}
