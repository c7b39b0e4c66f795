// SPDX-License-Identifier: Apache-2.0

// Package httpguard has the HTTP filters that run before the API handlers, and keeps request data out of the audit log.
//
//   - WithTimeouts is the outermost filter of both ports: it bounds the time of a request body and of a blocked write.
//   - WithScrub runs before everything that logs: it refuses protocol upgrades and redirects, and removes possible
//     values from the query string. It includes WithURILimit, which the decrypt port uses too.
//   - WithLogin and Pool divide request slots, body bytes and token reviews between callers. One caller gets at most a
//     quarter of a pool, so that a caller that holds nothing is served while others flood the server.
//   - WithPlaces runs after authorization when priority and fairness is off: it reads the body (Receive), then takes a
//     slot.
//   - WithRequestGuard runs after authorization: it refuses, with a constant text, each body that an upstream decoder
//     would quote in its error or read differently than its author meant.
//   - NewBackend wraps the audit backend: records of this API group and of the decrypt service are written without
//     bodies, without error texts that could quote one, and with a scrubbed URI, whatever the audit policy says.
//
// The package must never put a byte of a body into an error, a log line or a header; never change a body that it passes
// on (an absent one of a subresource becomes an empty object); never block a caller for a slot (it answers 429 with
// Retry-After); never drop an audit event, change one that others hold, or touch those of other groups; and never be
// the only check of anything: validation and storage do not rely on it.
package httpguard
