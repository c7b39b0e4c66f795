// SPDX-License-Identifier: Apache-2.0

// Package tracing records spans as the file of --tracing-config-file says: a TracingConfiguration of apiserver.config.k8s.io,
// read, checked and sampled by upstream's code, and sent by OTLP over gRPC.
//
// It differs from upstream's options in three ways: spans name this program as their service and not every API server of the
// cluster alike, a collector that is away delays the end of the process by no more than flushTimeout, and what goes wrong with
// the sending is logged as everything else is.
//
// No file, no tracer: Open returns nil then, and whoever gets nil must add nothing to a request.
package tracing
