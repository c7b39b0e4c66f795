// SPDX-License-Identifier: Apache-2.0

// +k8s:deepcopy-gen=package
// +groupName=secret.grafana.app

// Package secret holds the hub (internal) types of the group secret.grafana.app: what the server works with between
// decoding a request and framing an object for etcd. Only the hub knows the sealed bytes; no served version has a
// field for them. The package must never log, print or marshal a value.
package secret
