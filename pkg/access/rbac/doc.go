// SPDX-License-Identifier: Apache-2.0

// Package rbac authorizes requests by Role, ClusterRole, RoleBinding and ClusterRoleBinding manifests in a folder, with
// the semantics of Kubernetes RBAC. The standalone server uses it, which cannot ask a kube-apiserver.
//
// It owns the strict loader, the immutable Snapshot that decisions are made by, the evaluator, and the reload of the
// folder. Four ClusterRoles that every client needs are built in: system:discovery, system:basic-user,
// system:public-info-viewer and system:sealing-keys.
//
// It must never grant anything that is not in a manifest or a built-in role, never apply part of a broken set, never
// change a Snapshot that is in use, and never read anything but the folder it was given. Authorizer is RBAC only; the
// group system:masters means something only to Standalone, which the decrypt port must not use.
package rbac
