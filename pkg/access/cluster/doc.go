// SPDX-License-Identifier: Apache-2.0

// Package cluster tells who sends a request to a server that runs in a cluster.
//
// Everything it believes comes from the cluster's kube-apiserver: the ConfigMap
// kube-system/extension-apiserver-authentication says which CA signs client certificates, which CA signs the front
// proxy's certificate, which common names that certificate may have and in which headers it names the user; a
// TokenReview says whose a bearer token is. The ConfigMap is watched, so that a rotated CA counts within a second and
// without a restart. One version of it takes effect as a whole, and every request is judged by the version that is
// current then: certificates are verified for each request and never while the connection is made, so a connection
// that was made, or a TLS session that is resumed, under a CA that is gone gives no identity any more.
//
// Two authenticators come out of it. Request is for the API port: front-proxy headers, client certificates, tokens
// that kube-apiserver takes for its own, and nobody on the health paths. Credentials is for the decrypt port: tokens that
// were made out to this server (AuthenticationConfig.Audience), and certificates of a CA that signs for services (AuthenticationConfig.ServiceCAFile).
//
// An authorizer asks kube-apiserver by SubjectAccessReview. NewAuthorizer is for the API port: health paths are open, and
// members of system:masters are allowed everything without a review, since kube-apiserver allows that group before any
// authorizer of the operator. NewReviewAuthorizer is for the decrypt port and always asks. Answers are cached for the two
// times of AuthorizationConfig, so a revoked permission stays effective for at most that long; an error is never cached and
// never becomes an answer other than "no opinion".
//
// The package must never believe front-proxy headers while the list of allowed names is empty, in which upstream sees
// "any certificate of this CA will do"; never let a certificate that the cluster signs for people be a credential on the
// decrypt port; never accept a token from a URL, a cookie or a WebSocket protocol; never let a
// token reach a log, at any verbosity.
package cluster
