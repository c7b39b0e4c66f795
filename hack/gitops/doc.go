// SPDX-License-Identifier: Apache-2.0

// Package gitops runs the code by which Flux's controllers apply objects against the real server: what
// docs/examples/gitops says of Flux is true of Flux. A separate module, so that the server does not depend on Flux.
//
// It must never imitate Flux: what decides is github.com/fluxcd/pkg/ssa.
package gitops
