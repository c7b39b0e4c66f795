// SPDX-License-Identifier: Apache-2.0

// Package local tells who sends a request to the standalone server.
//
// It owns the way from a bearer token or a client certificate to a user, out of three files of the operator and one
// optional token authenticator:
//
//   - Config.Admin: the server's own admin token;
//   - --token-auth-file: static tokens, in the CSV of Kubernetes, of which only hashes are kept in memory;
//   - --client-ca-file: client certificates, common name = user, organizations = groups;
//   - --authentication-config: OIDC and JWT issuers, in the AuthenticationConfiguration of Kubernetes.
//
// Each file is read again when its content has changed. A broken edit is logged and counted, and the last good content
// stays in force: a token taken out of a file that does not parse is still valid, so watch
// secret_authentication_reload_total. A change is applied once two reads in a row agree, so that a file caught half
// written is never used.
//
// Who writes these files decides who is privileged. The token file and the client CA may name any user and group,
// system:masters included. An issuer may too, when its claims are mapped without a prefix: as in Kubernetes, give the
// mapping a prefix, or refuse "system:" names in userValidationRules.
//
// A JWT that was accepted is accepted for at most ten seconds more without being looked at again, by Credentials for at
// most half a second.
//
// The package must never accept a token from a URL, a cookie or a WebSocket protocol, nor basic auth, nor front-proxy
// headers; never let an anonymous request past the health paths; never put a token in an error, a log line or a metric
// (what upstream says of a refused JWT may quote one of its claims, such as the audience; the token it never quotes).
// Impersonation is the business of the handler chain.
package local
