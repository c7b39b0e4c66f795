// SPDX-License-Identifier: Apache-2.0

// Package manifests applies deploy/ to a real control plane of its own and runs the controller manager with the rights
// that those manifests give it, and no others. There are no nodes: Pods are admitted and not run.
package manifests
