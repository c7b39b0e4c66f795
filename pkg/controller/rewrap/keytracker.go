// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// maxDoublings limits how often the settle time of a key is doubled.
const maxDoublings = 10

// keyTracker determines the write key from answers of replicas that may read their configuration at different times.
//
// A key is the write key once all answers of a settle time named it. Going back to an earlier key takes twice as long
// each time: otherwise replicas that disagree permanently (one has kept its last good file) would have all values
// re-encrypted back and forth whenever the connection changes from one replica to another.
type keyTracker struct {
	settle time.Duration
	clock  clock.PassiveClock

	mu        sync.Mutex
	current   string
	candidate string    // named by the last answer
	since     time.Time // when answers started to name it
	left      map[string]int
}

func newKeyTracker(settle time.Duration, clock clock.PassiveClock) *keyTracker {
	return &keyTracker{settle: settle, clock: clock, left: map[string]int{}}
}

// observe records an answer of the server and reports whether it changes the write key.
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
	if key == k.current || now.Sub(k.since) < k.hold(key) {
		return false
	}
	if k.current != "" {
		k.left[k.current]++
	}
	k.current = key
	return true
}

func (k *keyTracker) hold(key string) time.Duration {
	return k.settle << min(k.left[key], maxDoublings)
}

// key returns the write key, or "" while it is unknown.
func (k *keyTracker) key() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.current
}

// unsettled returns the key of the last answer if it is not the write key, else "".
func (k *keyTracker) unsettled() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.candidate == k.current {
		return ""
	}
	return k.candidate
}
