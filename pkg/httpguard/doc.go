// SPDX-License-Identifier: Apache-2.0

// Package httpguard holds the HTTP filters that run before the API handlers, and keeps what they see out of the audit log.
//
//   - WithTimeouts is the outermost filter of both ports: it bounds how long a request body may take.
//   - WithScrub runs before everything that logs: it refuses upgraded connections and redirects, and removes what may be
//     a value from the query string. WithURILimit is part of it, and runs on the decrypt port too.
//   - WithLogin and Pool divide request slots, body bytes and token reviews between callers: no caller holds more than a
//     quarter of a pool, so that a caller that holds nothing is always served while others flood the server.
//   - WithPlaces runs after authorization where priority and fairness is off: it reads the body (Receive), then takes a slot.
//   - WithRequestGuard runs after authorization: it refuses, with a constant text, each body that an upstream decoder would
//     quote in its error or would read differently than its author meant.
//   - NewBackend wraps the audit backend: records of this API group and of the decrypt service are written without bodies,
//     without error texts that could quote one, and with a scrubbed URI, whatever the audit policy says.
//
// The package must never put a byte of a body into an error, a log line or a header; never change a body that it lets
// through (an absent one of a subresource becomes an empty object); never block a caller for a slot (it answers 429 with
// Retry-After); never drop an audit event, change one that others hold, or touch those of other groups; and never be the
// only check of anything: validation and storage do not rely on it.
package httpguard
