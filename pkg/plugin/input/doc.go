// SPDX-License-Identifier: Apache-2.0

// Package input gets a value from a person or a program without an argument: from a prompt that shows nothing, a file, standard input,
// an environment variable, or the random generator of the system.
//
// It owns the flags for that and the limits that a value must keep. It must never put a value, or what was given for a flag, into an
// error or an output.
package input
