// SPDX-License-Identifier: Apache-2.0

// Package local authenticates requests to the standalone server.
//
// It owns the way from a bearer token or a client certificate to a user, by three files of the operator and one
// optional token authenticator:
//
//   - Config.Admin: the server's own admin token;
//   - --token-auth-file: static tokens, in the CSV of Kubernetes, of which only hashes are kept in memory;
//   - --client-ca-file: client certificates, common name = user, organizations = groups;
//   - --authentication-config: OIDC and JWT issuers, in the AuthenticationConfiguration of Kubernetes.
//
// Each file is reloaded when its content changes. An invalid edit is logged and counted, and the last good content
// stays in force: a token that was removed from a file that does not parse is still valid, so watch
// secret_reload_total. A change is applied once two reads in a row agree, so that a file that is being
// written is never used.
//
// Write access to these files is privileged. The token file and the client CA may name any user and group, including
// system:masters. So may an issuer whose claims are mapped without a prefix: as in Kubernetes, give the mapping a
// prefix, or reject "system:" names in userValidationRules.
//
// An accepted JWT is cached for ten seconds, by Credentials for half a second.
//
// The package must never accept a token from a URL, a cookie or a WebSocket protocol, nor basic auth, nor front-proxy
// headers; never let an anonymous request past the health paths; never put a token in an error, a log line or a metric
// (upstream's error about a refused JWT may quote a claim, such as the audience, but never the token). Impersonation is
// up to the handler chain.
package local
