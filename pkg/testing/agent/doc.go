// SPDX-License-Identifier: Apache-2.0

// Package agent tests secret-agent as a Pod has it: the real program, with a real server over TLS. It must never look
// into either process other than through flags, files, signals, output and /proc.
package agent
