// SPDX-License-Identifier: Apache-2.0

// Package attack sends the real server what somebody with few rights, or a big body, would send to bring it down or to
// get around a rule. Each test is named after an attack that once worked. The package must never assert a duration: an
// attack that works again does not end, or ends the server.
package attack
