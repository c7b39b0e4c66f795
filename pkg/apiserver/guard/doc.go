// SPDX-License-Identifier: Apache-2.0

// Package guard holds the HTTP filters that stand in front of the API handlers.
//
// It owns five of them. WithTimeouts is the outermost filter of both ports, so that it bounds the bodies of strangers too. WithPlaces
// stands behind authorization where priority and fairness is off: it reads the body, then gives the request a place (Receive).
// WithScrub stands outside of everything that logs: it refuses upgraded connections and redirects, and takes what
// may be a value out of the query string before anything can log it. WithURILimit, which is a part of it and stands in front
// of the decrypt port too, refuses what is too long to be parsed. WithRequestGuard stands behind authorization: it
// reads the body of every write to a SecureValue and refuses, with a constant text, each body that an upstream decoder
// would quote in its own error, or would read in another way than its author meant.
//
// It must never put a byte of a body into an error, a log line or a header, never change a body that it lets through
// (an absent one of a subresource becomes an empty object),
// and never be the only check of anything: validation and storage do not rely on it.
package guard
