// SPDX-License-Identifier: Apache-2.0

// Package access has the commands `who-can-decrypt` and `can-decrypt`: the list of decrypters of a value, times RBAC.
//
// The rules are those of package rights, as on the decrypt port: verb decrypt on the value and verb use on one of its
// decrypters, both in the namespace of the value, granted by name, asked without the group system:masters. RBAC itself is
// evaluated by package rbac, or by the cluster. This package must never write anything, and never say that nobody has a right
// which it could not look at.
package access
