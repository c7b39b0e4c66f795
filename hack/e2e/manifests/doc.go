// SPDX-License-Identifier: Apache-2.0

// Package manifests applies deploy/ to a separate real control plane and runs the controller manager with the rights
// that those manifests give it, and no others. It has no nodes: Pods are admitted but not run.
package manifests
