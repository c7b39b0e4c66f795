// SPDX-License-Identifier: Apache-2.0

// Package clients holds the tests that use the server as people and programs do: with the pinned kubectl, with the
// generated clients, as a GitOps tool does, and by the requests of clients that are not run here (replay_test.go).
// Whatever a client prints or receives is searched for the values that were written. It must never send a request that
// its client would not send by itself.
package clients
