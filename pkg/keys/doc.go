// SPDX-License-Identifier: Apache-2.0

// Package keys owns the file of --encryption-provider-config: the standard EncryptionConfiguration of Kubernetes,
// with its ciphers and KMS plugins, for securevalues.secret.grafana.app.
//
// CheckConfiguration refuses what would store a value in clear. A Provider turns the file into the transformer that
// pkg/sealed seals with, and reloads it while the server runs: a file that is refused, or whose new KMS plugin
// does not answer, leaves the last good one in force, and the log, a metric and /readyz?verbose say so. The Provider also
// publishes the name of the key that seals now.
//
// It must never put a configuration in force that was not checked, never take a good one out of force because its
// successor is broken, never make the server unready because a KMS is away (lists and label edits need none), and never
// put a key into an error, a log line or a metric.
package keys
