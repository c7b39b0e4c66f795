// SPDX-License-Identifier: Apache-2.0

package server

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// heapRoom is how many bytes may be allocated between two collections, however little of the heap is live. An idle
	// server has 30 MB of live objects: with Go's default it collects a few times per second under load, which takes a
	// fifth of its CPU.
	heapRoom = 256 << 20
	// defaultGCPercent is Go's default: a heap with more than heapRoom live is collected when it has doubled.
	defaultGCPercent = 100
)

// letHeapGrow delays garbage collection until heapRoom was allocated. GOGC, if set, wins; GOMEMLIMIT always applies.
func letHeapGrow() {
	if os.Getenv("GOGC") == "" {
		afterCollection(&sentinel{})
	}
}

// sentinel has its own block: the allocator joins smaller objects, which outlive each other.
type sentinel struct{ _ [32]byte }

// afterCollection adjusts the collector after each of its cycles: a finalizer runs when a cycle found its object dead.
func afterCollection(s *sentinel) {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	debug.SetGCPercent(gcPercent(sample[0].Value.Uint64()))
	runtime.SetFinalizer(s, afterCollection)
}

// gcPercent is the GOGC that gives a heap with live bytes heapRoom, at least Go's default, which it also is before the
// first collection, when live is unknown.
func gcPercent(live uint64) int {
	if live == 0 {
		return defaultGCPercent
	}
	const smallest = 4 << 20                                            // Go scales this one by GOGC, whatever is live
	return max(defaultGCPercent, int(heapRoom*100/max(live, smallest))) //nolint:gosec // at most 6400
}
