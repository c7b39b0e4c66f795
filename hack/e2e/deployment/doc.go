// SPDX-License-Identifier: Apache-2.0

// Package deployment runs secret-apiserver in a test cluster as deploy/ would: replicas of the real binary on a
// separate etcd, behind a Service, registered by an APIService with a caBundle. What a node does in a cluster (start,
// probe, route to who is ready) this package does. It must never pass a flag that deploy/ does not, but for addresses,
// files and how much is logged.
package deployment
