// SPDX-License-Identifier: Apache-2.0

// Package etcdcluster runs members of a real etcd as separate processes, for tests that kill, stop or cut off one of
// them. It must never be used for anything else: peers speak without TLS.
package etcdcluster
