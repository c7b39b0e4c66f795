// SPDX-License-Identifier: Apache-2.0

// Package collector is an OTLP collector for tests: the service of OpenTelemetry's own protocol on a gRPC server, which
// keeps every span and writes each request as it came to a file, so that suites can search what left the process.
package collector
