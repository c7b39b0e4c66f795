// SPDX-License-Identifier: Apache-2.0

package httpguard

import (
	"runtime"
	"testing"
	"unsafe"
)

// descend uses about half a KB of the stack for each call.
//
//go:noinline
func descend(calls int) {
	var room [512]byte
	if calls > 0 {
		descend(calls - 1)
	}
	runtime.KeepAlive(&room)
}

// moved says whether the stack of a new goroutine is copied while calls descend that fit into stackBytes.
func moved(prepare func()) bool {
	result := make(chan bool)
	go func() {
		prepare()
		var here byte
		before := uintptr(unsafe.Pointer(&here)) //nolint:gosec // only compared
		descend(stackBytes / 1024)
		result <- uintptr(unsafe.Pointer(&here)) != before //nolint:gosec // as above
	}()
	return <-result
}

func TestGrowStack(t *testing.T) {
	if !moved(func() {}) {
		t.Error("the stack of a goroutine is large enough as it is: GrowStack is not needed any more")
	}
	if moved(GrowStack) {
		t.Error("the stack was copied after GrowStack")
	}
}

func BenchmarkGoroutine(b *testing.B) {
	for name, prepare := range map[string]func(){"as it is": func() {}, "grown": GrowStack} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				moved(prepare)
			}
		})
	}
}
