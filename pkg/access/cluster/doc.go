// SPDX-License-Identifier: Apache-2.0

// Package cluster authenticates and authorizes requests to a server in a cluster.
//
// Everything comes from the cluster's kube-apiserver. The ConfigMap kube-system/extension-apiserver-authentication
// names the CA of client certificates, the CA of the front proxy's certificate, the common names that this certificate
// may have and the headers with the user; a TokenReview returns the user of a bearer token. The ConfigMap is watched,
// so that a rotated CA takes effect within a second and without a restart. A version of it takes effect as a whole, and
// every request is authenticated by the current version: certificates are verified for each request and never during
// the handshake, so neither a connection nor a resumed TLS session outlives the CA it was made under.
//
// There are two authenticators. Request is for the API port: front-proxy headers, client certificates, tokens that
// kube-apiserver accepts for itself, and anonymous access to the health paths. Credentials is for the decrypt port:
// tokens issued for this server's audience (AuthenticationConfig.Audience), and certificates of a CA for services
// (AuthenticationConfig.ServiceCAFile).
//
// Authorization is by SubjectAccessReview. NewAuthorizer is for the API port: health paths are open, and members of
// system:masters are allowed everything without a review, since kube-apiserver allows that group before any authorizer
// of the operator. NewReviewAuthorizer is for the decrypt port and always asks. Decisions are cached for the two times
// of AuthorizationConfig, so a revoked permission stays effective for at most that long; an error is never cached and
// is always "no opinion".
//
// The package must never accept front-proxy headers while the list of allowed names is empty, which for upstream means
// "any certificate of this CA"; never accept a certificate of the cluster's CA for people on the decrypt port; never
// accept a token from a URL, a cookie or a WebSocket protocol; never let a token reach a log, at any verbosity.
package cluster
