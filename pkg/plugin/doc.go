// SPDX-License-Identifier: Apache-2.0

// Package plugin is the kubectl plugin `kubectl securevalue`: it writes secure values, imports them, seals the values
// of manifests, shows who may open one, and follows key rotations.
//
// The access rules are those of package rights, as on the decrypt port: the verb decrypt on the value and the verb use
// on one of its decrypters, both in the value's namespace, granted by name, and without the group system:masters. RBAC
// is evaluated by package rbac or by the cluster.
//
// The package must never take a value as an argument, never print one except with --generate --show-once, and never
// repeat in an error what was typed after a flag. It must never register the verbosity flag of the Kubernetes
// libraries: at level 8 they print request bodies. seal must never leave a part of a value in a manifest, nor change
// anything else in it. import must never overwrite or delete anything, and who-can-decrypt must never claim that nobody
// has a permission that it could not check.
package plugin
