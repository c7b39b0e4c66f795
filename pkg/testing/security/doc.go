// SPDX-License-Identifier: Apache-2.0

// Package security attacks the real server, through its real flags: what went wrong in other secret stores, API servers
// and their clients, one test for each row of the table of incidents in docs/security-model.md (TestIncidentNN, here or
// in the package that has the row at its heart; TestEveryIncidentHasATest holds both together); bodies with faults by
// the thousand; and clients that race each other and the server's stop. The package must never test a row with a
// stand-in, assert a duration, or sleep until something is probably over.
package security
