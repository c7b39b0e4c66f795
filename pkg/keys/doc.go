// SPDX-License-Identifier: Apache-2.0

// Package keys owns the file of --encryption-provider-config: the standard EncryptionConfiguration of Kubernetes, with
// its ciphers and KMS plugins, for securevalues.secret.grafana.app.
//
// CheckConfiguration refuses what would store a value in clear. A Provider turns the file into the transformer of
// pkg/sealed, and reloads it while the server runs: if a file is refused, or its new KMS plugin does not answer, the
// last good configuration stays active, and the log, a metric and /readyz?verbose report it. The Provider also
// publishes the name of the active write key.
//
// It must never activate an unchecked configuration, never drop a good one because its successor is broken, never make
// the server unready because a KMS is unavailable (lists and label edits need none), and never put a key into an error,
// a log line or a metric.
package keys
