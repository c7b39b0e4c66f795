// SPDX-License-Identifier: Apache-2.0

// Package scale measures one standalone server with embedded etcd that holds many values: how long a start takes, what
// a value costs in memory, and what lists, watches and a rotation of the key do to it. It must never report a stage in
// which something failed without saying so.
package scale
