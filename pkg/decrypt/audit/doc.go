// SPDX-License-Identifier: Apache-2.0

// Package audit is the decrypt audit log: one JSON line for each name in a decrypt request, written before the value is
// released.
//
// It owns the file, its rotation, the HMAC chain over its lines, the key of that chain, the publication of the chain's
// head, and the verification of all of it. docs/decrypt-audit.md documents the fields and what the chain can and cannot
// prove. The head of each instance is one key in etcd (decrypt.HeadStore).
//
// It must never receive a value, never report a record as written before it is, never rewrite or drop a line that it
// acknowledged, and never let an allowed release go unrecorded because of load.
package audit
