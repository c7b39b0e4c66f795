// SPDX-License-Identifier: Apache-2.0

// Package plugin tests the kubectl plugin against the real server: each behaviour is a script in testdata, a session as
// a person would have it, prompts on a pseudo-terminal included. Every output of the plugin is searched for the values
// that the script used, and in the end so are the log, the audit log and the data folder of the server.
//
// Each script has its own namespace and kubeconfig. commands_test.go adds commands to those of testscript.
package plugin
