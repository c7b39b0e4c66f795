// SPDX-License-Identifier: Apache-2.0

package server

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	// heapRoom is what may be allocated, in bytes, before the heap is collected again, however little of it is live. An idle
	// server has 30 MB of live objects, one that holds the history of many writes for its watches many more: with Go's default they
	// collect a few times a second under load, a fifth of their CPU.
	heapRoom = 256 << 20
	// defaultGCPercent is Go's: a heap with more than heapRoom live is collected when it has doubled.
	defaultGCPercent = 100
)

// letHeapGrow has the garbage collector wait for heapRoom. GOGC, when set, wins; GOMEMLIMIT is always kept to.
func letHeapGrow() {
	if os.Getenv("GOGC") == "" {
		afterCollection(&sentinel{})
	}
}

// sentinel is a block of its own: the allocator joins smaller objects, which outlive each other.
type sentinel struct{ _ [32]byte }

// afterCollection adjusts the collector after each of its cycles: a finalizer runs when a cycle found its object dead.
func afterCollection(s *sentinel) {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	debug.SetGCPercent(gcPercent(sample[0].Value.Uint64()))
	runtime.SetFinalizer(s, afterCollection)
}

// gcPercent is the GOGC that gives a heap with live bytes heapRoom, at least Go's default. It is that too before the first
// collection, when nothing is known to be live.
func gcPercent(live uint64) int {
	if live == 0 {
		return defaultGCPercent
	}
	const smallest = 4 << 20                                            // Go scales this one by GOGC, whatever is live
	return max(defaultGCPercent, int(heapRoom*100/max(live, smallest))) //nolint:gosec // at most 6400
}
