// SPDX-License-Identifier: Apache-2.0

package httpguard

import "runtime"

// stackBytes is what upstream's handlers need of a stack, in bytes.
const stackBytes = 24 << 10

// GrowStack makes room on the stack of the calling goroutine, which starts with a few KB. Each time they do not do the runtime copies them to
// twice the room: some four times for a request, and the dearer the more calls are on it. The runtime looks at what a function
// asks for, so one that asks for much, called early, brings the number of copies to one.
//
//go:noinline
func GrowStack() {
	var room [stackBytes]byte
	runtime.KeepAlive(&room)
}
