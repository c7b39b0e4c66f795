// SPDX-License-Identifier: Apache-2.0

// Package process tests the server as its operator sees it: files and their modes, the banner and its commands, flags,
// refusals, health and metrics, credentials and roles that change while it runs, signals, and what a restart keeps.
//
// It must never look into the process other than through its flags, files, ports, signals and output.
package process
