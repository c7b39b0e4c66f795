// SPDX-License-Identifier: Apache-2.0

// Package e2e tests secret-apiserver in a real Kubernetes control plane: two replicas of the binary of this tree,
// behind kube-apiserver's aggregator. It is a separate module, since building kube-apiserver takes k8s.io/kubernetes
// with replace lines for all of its parts, which the server must not carry.
//
// `make test-e2e` builds what is missing and runs everything. `go test -run TestX .` in this folder runs one test; each
// uses its own namespaces, but all share one control plane, so none may run in parallel. When a test fails, the
// folder with the logs of every program stays and its name is printed.
package e2e
