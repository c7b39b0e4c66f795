// SPDX-License-Identifier: Apache-2.0

// Package clients holds the tests that use the server as people and programs do: with the pinned kubectl, with the
// generated clients, and as a GitOps tool does. Whatever a client prints or receives is searched for the values that
// were written. It must never send a request that its client would not send by itself.
package clients
