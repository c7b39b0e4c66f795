// SPDX-License-Identifier: Apache-2.0

// Package kubeapi is as much of a kube-apiserver as a delegated server needs, for tests: objects with list and watch,
// TokenReview and SubjectAccessReview, over TLS and with its own token. Its answers have the form that
// kube-apiserver gives them. It must never be the only proof of a claim about a cluster: hack/e2e runs the real one.
package kubeapi
