// SPDX-License-Identifier: Apache-2.0

// Package compare runs the same operations on each side, one slice after the other, A B A B, and gathers the figures.
// It must never measure one side in a state that the other was not in: each has the same objects and the same history.
package compare
