// SPDX-License-Identifier: Apache-2.0

// Package decrypt tests the decrypt port of the real binary over TLS, by every protocol that it speaks. It must never
// look into the server: who may open what is seen from outside, as a service and as an attacker see it.
package decrypt
