// SPDX-License-Identifier: Apache-2.0

// Package manager is the command secret-controller-manager: it reads the flags, connects to the cluster and runs the
// controllers under one leader election.
//
// A controller is a separate package beside this one, with an Options type with AddFlags and Validate, and
// SetupWithManager(mgr, Options) error; run.go calls them. Nothing else ties a controller to this package, so the
// standalone server runs the same ones in its own process.
//
// This package must never read or write a SecureValue itself, and never hold a value: the API never returns one.
package manager
