// SPDX-License-Identifier: Apache-2.0

package server

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"
)

func TestGCPercent(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 100, 1: 6400, 4 << 20: 6400, 16 << 20: 1600, 64 << 20: 400, 128 << 20: 200, 256 << 20: 100, 257 << 20: 100, 1 << 40: 100,
	} {
		if got := gcPercent(live); got != want {
			t.Errorf("gcPercent(%d) = %d, want %d", live, got, want)
		}
	}
}

// TestLetHeapGrow: the collector is adjusted again after each cycle, and not at all when GOGC says how.
func TestLetHeapGrow(t *testing.T) {
	current := func() int {
		percent := debug.SetGCPercent(100)
		debug.SetGCPercent(percent)
		return percent
	}
	t.Cleanup(func() { debug.SetGCPercent(100) })
	debug.SetGCPercent(77)
	t.Setenv("GOGC", "77")
	letHeapGrow()
	if got := current(); got != 77 {
		t.Errorf("GOGC=77 became %d", got)
	}
	t.Setenv("GOGC", "")
	letHeapGrow()
	for range 2 {
		debug.SetGCPercent(77)
		for deadline := time.Now().Add(time.Minute); current() == 77; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("a collection adjusted nothing")
			}
			runtime.GC()
		}
	}
}
