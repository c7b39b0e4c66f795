// SPDX-License-Identifier: Apache-2.0

// Package leak sends random values to the real server through every verb, content type and mistake of one table and
// then searches everything that comes out of it: responses, watches, logs, the audit log, metrics, a stack dump and
// every byte of the data folder. The search knows the encodings that a program may put a value into, and proves so.
//
// `make leak` is the long run: CANARIES in the environment is how many values it sends, CANARY_SEED=N repeats an
// earlier one. If you add a verb, a media type, a flag that names a place to write to, or a command, add it to the
// table: a test compares them with what the server serves. The package must never leave a case out because the server
// answers it with an error: errors are where values leak.
package leak
