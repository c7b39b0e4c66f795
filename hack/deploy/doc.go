// SPDX-License-Identifier: Apache-2.0

// Package deploy holds the tests of the manifests in deploy/: each combination is built by kustomize, decoded strictly
// into the types of Kubernetes and of cert-manager, and then held against what the binaries really take and against the
// rules of the project. A separate module, so that the server does not depend on kustomize.
//
// It must never change a manifest: what is tested is what people apply.
package deploy
