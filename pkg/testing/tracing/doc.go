// SPDX-License-Identifier: Apache-2.0

// Package tracing follows requests through everything that a server says of them: its log, both audit logs, and the
// spans that a real OTLP collector receives. It holds tests only.
package tracing
