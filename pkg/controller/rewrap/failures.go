// SPDX-License-Identifier: Apache-2.0

package rewrap

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// The first and the longest wait before a value that could not be rewrapped is tried again.
const (
	minRetry = time.Second
	maxRetry = 5 * time.Minute
)

// failures remembers which values could not be rewrapped, so that each waits for itself and the others go on.
type failures struct {
	mu       sync.Mutex
	attempts map[types.NamespacedName]int
}

func newFailures() *failures { return &failures{attempts: map[types.NamespacedName]int{}} }

// note counts a failure. It returns how long to wait, and whether it is the first in a row.
func (f *failures) note(name types.NamespacedName) (wait time.Duration, first bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts[name]++
	n := f.attempts[name]
	return min(maxRetry, minRetry<<min(n-1, 16)), n == 1
}

// forget ends a row of failures. It returns true when there was one.
func (f *failures) forget(name types.NamespacedName) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.attempts[name]
	delete(f.attempts, name)
	return ok
}

// has reports whether the last try of a value failed.
func (f *failures) has(name types.NamespacedName) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.attempts[name]
	return ok
}

// clear forgets all of them: with another key, or another configuration, everything is worth a try.
func (f *failures) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.attempts)
}

func (f *failures) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.attempts)
}
