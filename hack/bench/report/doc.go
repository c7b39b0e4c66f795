// SPDX-License-Identifier: Apache-2.0

// Package report turns what was measured into a table, a JSON file and a plot, and says of each aim whether it was
// reached. It must never round a miss up or leave out a row that failed.
package report
