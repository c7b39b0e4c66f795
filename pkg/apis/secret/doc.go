// SPDX-License-Identifier: Apache-2.0

// +k8s:deepcopy-gen=package
// +groupName=secret.grafana.app

// Package secret has the hub (internal) types of the group secret.grafana.app, which the server uses between decoding a
// request and encoding an object for etcd. Only the hub has the sealed bytes; no served version has a field for them.
// The package must never log, print or marshal a value.
package secret
