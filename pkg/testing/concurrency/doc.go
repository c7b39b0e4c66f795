// SPDX-License-Identifier: Apache-2.0

// Package concurrency races clients against the real server, its stop and its sudden death, and then counts: every
// acknowledged write is there, every version was given once, and what opens is what the last writer wrote. Under the
// race detector the server is built with it too. The package must never sleep until something is probably over.
package concurrency
