// SPDX-License-Identifier: Apache-2.0

// Package selfreview serves a client's reviews of itself: SelfSubjectAccessReview (may I do this?),
// SelfSubjectRulesReview (what may I do?) and SelfSubjectReview (who am I?). In a cluster kube-apiserver serves them;
// the standalone server must, so that `kubectl auth can-i` and `kubectl auth whoami` work.
//
// The external v1 types are served without hub types: AddToScheme registers each type as v1 and as internal, so that no
// conversion is needed.
//
// It must never answer about anybody but the caller, and never decide anything itself: it reports what the authorizer
// of the API decides, or for the verbs of the decrypt port what that port decides.
package selfreview
