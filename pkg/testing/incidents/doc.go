// SPDX-License-Identifier: Apache-2.0

// Package incidents replays what went wrong in other secret stores, API servers and their clients, one test for each
// row of the table of incidents in docs/security-model.md. Rows that another package has at its heart have their test
// there, under a name of the same form, TestIncidentNN. TestEveryIncidentHasATest holds the table and the tests
// together. The package must never test a row with a stand-in: it attacks the real server, through its real flags.
package incidents
