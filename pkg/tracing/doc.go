// SPDX-License-Identifier: Apache-2.0

// Package tracing exports spans as configured by --tracing-config-file: a TracingConfiguration of
// apiserver.config.k8s.io, which upstream's code reads, validates and samples by, and sends by OTLP over gRPC.
//
// It differs from upstream's options in three ways: the service name of spans is this program's, an unavailable
// collector delays the end of the process by at most flushTimeout, and export errors are logged like all others.
//
// Without a file Open returns nil, and its callers must then add nothing to a request.
package tracing
