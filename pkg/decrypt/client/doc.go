// SPDX-License-Identifier: Apache-2.0

// Package client is how a service gets the values that it may open.
//
// Client calls the decrypt service: any number of names, with retries, and an error for each name that did not open.
// Cache keeps the values and watches the metadata of the secure values, so that it notices a value that was changed,
// deleted or withdrawn without polling.
//
// It must never log, print or marshal a value, never send a token over anything but TLS, and never assume that a value
// is the newest without a running watch.
package client
