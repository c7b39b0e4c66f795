// SPDX-License-Identifier: Apache-2.0

// Package clock gives a server under test a wall clock that jumps. The machine's own clock is never touched: Linux has
// no namespace for it. Instead the server is built with a standard library in which time.Now adds an offset that it
// reads from shared memory, so that it changes for the running process from one call to the next, as when somebody sets
// the clock. Time that has passed (the monotonic clock, timers, deadlines) goes on unchanged, as it does on a real
// machine then.
//
// It must never be used for anything but tests.
package clock
