// SPDX-License-Identifier: Apache-2.0

// Package rbac decides who may do what from Role, ClusterRole, RoleBinding and ClusterRoleBinding manifests in a
// folder, with the semantics of Kubernetes RBAC. The standalone server uses it, since there is no kube-apiserver to ask.
//
// It owns the strict loader, the immutable Snapshot a decision is made on, the evaluator, and the Watcher that swaps
// in a new snapshot when the folder changes. Three ClusterRoles that every client needs are built in: system:discovery,
// system:basic-user and system:public-info-viewer.
//
// It must never grant anything that no manifest (or built-in role) names, never apply part of a broken set, never
// change a Snapshot that is in use, and never read anything but the folder it was given. New does RBAC only; the group
// system:masters means something only to NewStandalone, which the decrypt port must not use.
package rbac
