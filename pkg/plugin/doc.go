// SPDX-License-Identifier: Apache-2.0

// Package plugin is the kubectl plugin `kubectl securevalue`. It owns the root command, the exit codes and the completion that
// kubectl asks for; each command lives in a package below.
//
// It must never take a value as an argument, never print one but for --generate --show-once, and never register the verbosity flag
// of the Kubernetes libraries: at level 8 they print the bodies of requests.
package plugin
