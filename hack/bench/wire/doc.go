// SPDX-License-Identifier: Apache-2.0

// Package wire is an HTTP/2 client that costs as little CPU as can be, so that on a small machine a measurement is of
// the server. One connection carries one request at a time: a client of the benchmark is a process with a connection
// of its own. It must never hide a failure: there is no retry, and a connection that failed is not used again.
package wire
