// SPDX-License-Identifier: Apache-2.0

// Package controlplane runs a real Kubernetes control plane on loopback: etcd, kube-apiserver and
// kube-controller-manager as hack/build-controlplane.sh builds them, without a kubelet. It must never be lenient where
// a cluster is strict: RBAC, default admission, separate front-proxy certificates, and an audit log at RequestResponse.
package controlplane
