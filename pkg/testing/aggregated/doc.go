// SPDX-License-Identifier: Apache-2.0

// Package aggregated runs the real binary without --standalone against a stand-in for kube-apiserver. What needs the
// real one is tested in hack/e2e.
package aggregated
