// SPDX-License-Identifier: Apache-2.0

// Package client is how a service gets the values that it may open.
//
// Client asks the decrypt service: any number of names, with retries, with errors that say what is wrong with which
// name. Cache keeps what it got and watches the metadata of the secure values, so that a value that was changed,
// deleted or withdrawn is noticed without polling.
//
// It must never log, print or marshal a value, never send a token over anything but TLS, and never take a
// value for the newest without a watch that says so.
package client
