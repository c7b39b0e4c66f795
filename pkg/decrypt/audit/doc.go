// SPDX-License-Identifier: Apache-2.0

// Package audit is the decrypt audit log: one JSON line for each name that a caller asked to have opened, written before
// the value leaves.
//
// It owns the file, its rotation, the HMAC chain over its lines, the key of that chain, the publication of the chain's
// head, and the verification of all of it. docs/decrypt-audit.md has the fields and what the chain can and cannot show.
//
// The head of each instance is one key in etcd (decrypt.HeadStore). It only moves forward, by compare-and-swap.
//
// It must never be handed a value, never say that a record is written before it is, never rewrite or drop a line that
// it acknowledged, and never let an allowed release go unrecorded because of load.
package audit
