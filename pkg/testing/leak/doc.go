// SPDX-License-Identifier: Apache-2.0

// Package leak sends random values to the real server through every verb, content type and mistake of one table and
// then searches everything that comes out of it: responses, watches, logs, the audit log, metrics, a stack dump and
// every byte of the data folder. The search knows the encodings that a program may put a value into, and proves so.
//
// CANARIES=100000 in the environment is the long run, CANARY_SEED=N repeats an earlier one. The package must never
// leave a case out because the server answers it with an error: errors are where values leak.
package leak
