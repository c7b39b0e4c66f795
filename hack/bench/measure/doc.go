// SPDX-License-Identifier: Apache-2.0

// Package measure holds what is counted in a run: latencies, outcomes, CPU and memory of processes, and the sums that
// turn rounds into one figure. It must never drop a request: what failed or was slow is counted as that.
package measure
