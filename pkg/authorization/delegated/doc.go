// SPDX-License-Identifier: Apache-2.0

// Package delegated asks the cluster's kube-apiserver what a caller may do, by SubjectAccessReview.
//
// New is for the API port: the health paths are open, and members of system:masters may do everything without being
// asked about, since kube-apiserver answers yes to that group before any authorizer of the operator. NewReviewer is
// for the decrypt port, where neither holds: it only asks.
//
// An answer is kept for the two times of Config, so a right that is taken away works for at most that long. An error is
// never kept. The package must never turn an error into an answer other than "no opinion".
package delegated
