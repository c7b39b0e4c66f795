// SPDX-License-Identifier: Apache-2.0

// Package manager is the command secret-controller-manager: it reads the flags, reaches the cluster and runs the
// controllers under one leader election.
//
// A controller is a package of its own beside this one. It brings an Options type with AddFlags and Validate, and
// SetupWithManager(mgr, Options) error, which adds it; controllers.go lists them. Nothing else ties a controller to this
// package, so the standalone server runs the same ones in its own process.
//
// This package must never read or write a SecureValue itself, and never hold a value: no read of the API carries one.
package manager
