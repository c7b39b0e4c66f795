// SPDX-License-Identifier: Apache-2.0

// Package load makes the requests: what typed clients of client-go send for core Secrets and for SecureValues, in a
// closed loop for throughput and in an open loop for latency. A latency of the open loop starts when the request was
// due, not when a client had time for it. It must never drop a request that failed or was late.
package load
