// SPDX-License-Identifier: Apache-2.0

// Package rewrap is the controller that ends a key rotation: it finds values that are sealed under another key than the
// one the server seals with now, and asks the server to seal them anew.
//
// All state is in the objects: a value is stale when its status.key differs from the write key. So a controller that is
// killed, or joined by a second one, has nothing to lose and nothing to repeat. What the server seals with is learnt from
// the server alone, by dry runs of a rewrap (see probe.go), and believed as keytracker.go says.
//
// It lists and watches securevalues and posts to securevalues/rewrap, no more. It must never read or hold a value (no
// read of the API carries one), never keep specs in memory, and never let one value that does not open stop the others.
package rewrap
