// SPDX-License-Identifier: Apache-2.0

// Package redact keeps secret material out of the audit log.
//
// It owns the wrapper around every audit backend: whatever the audit policy says, a record of this project's API group
// or of its decrypt service is written without bodies, without error texts that could quote one, and with a scrubbed URI.
// Who did what to which object, when and with which outcome stays.
//
// It must never change an event that others hold, never drop an event, and never touch the events of other groups.
package redact
