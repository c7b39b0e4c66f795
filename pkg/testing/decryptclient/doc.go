// SPDX-License-Identifier: Apache-2.0

// Package decryptclient holds the tests of the Go client and its cache against the real binary over TLS. It has no
// other code, and must never reach into the server: it sees what a service sees.
package decryptclient
