// SPDX-License-Identifier: Apache-2.0

// Package fuzz feeds made-up requests to the whole server: the command itself, started through its flags in the process
// of the test, so that the fuzzer sees which code a request reaches. `make fuzz` runs the targets; `go test` runs their
// seeds. A target must state what no answer may ever do, and never only that the server survives.
package fuzz
