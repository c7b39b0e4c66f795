// SPDX-License-Identifier: Apache-2.0

// Package sealedvalues tests spec.sealedValue and its keys against the real server: what opens, what is a new value,
// what is refused, and how the keys change.
package sealedvalues
