// SPDX-License-Identifier: Apache-2.0

// Package rewrap is the controller that completes a key rotation: it finds values that are not encrypted with the write
// key, and has the server re-encrypt them.
//
// All state is in the objects: a value is stale when its status.key differs from the write key. So a controller that is
// killed, or joined by a second one, loses and repeats nothing. The write key comes from the server alone, by dry runs
// of a rewrap (see prober.go), and has to settle as described in keytracker.go.
//
// It lists and watches securevalues and posts to securevalues/rewrap, no more. It must never read or hold a value (the
// API never returns one), never keep specs in memory, and never let one value that cannot be decrypted stop the others.
package rewrap
