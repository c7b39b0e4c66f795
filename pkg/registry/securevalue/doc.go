// SPDX-License-Identifier: Apache-2.0

// Package securevalue is the registry of SecureValue: what a request may change, what a response shows, and which error
// a client gets. It does not encrypt (see pkg/sealed). No REST method of the package may return an object with a value,
// or an error that quotes one.
package securevalue
