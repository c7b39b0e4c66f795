// SPDX-License-Identifier: Apache-2.0

// Package kmsplugin is a KMS v2 plugin for tests: it speaks the protocol of real ones over a unix socket, really wraps
// with AES-GCM, counts its calls, and goes wrong when it is told to: slow, failing, flapping, answering with another
// key's ciphertext, changing its key, or gone.
//
// hack/kms-plugin runs it as a separate process, to try a server by hand or to kill it for real.
//
// It must never be used for real secrets: its keys lie in memory or in a file in clear.
package kmsplugin
