// SPDX-License-Identifier: Apache-2.0

// Package client is how a service gets the values that it may open.
//
// Client calls the decrypt service: any number of names, with retries, and an error for each name that did not open.
// Cache keeps the values and follows the server's stream of changes, so that it notices a value that was changed,
// deleted or withdrawn without polling.
//
// It must never log, print or marshal a value, never send a token over anything but TLS, never assume that a value is
// the newest without an open stream, and never depend on Kubernetes libraries: services link it.
package client
