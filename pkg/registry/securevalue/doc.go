// SPDX-License-Identifier: Apache-2.0

// Package securevalue is the registry of SecureValue: what a request may change, what a response shows, and which
// error a client reads. Sealing is not done here (see pkg/sealed). The package must never let an object with
// a value, or an error that quotes one, out of a REST method.
package securevalue
