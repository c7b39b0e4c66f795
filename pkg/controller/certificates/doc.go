// SPDX-License-Identifier: Apache-2.0

// Package certificates is the own CA of a cluster without another one: it issues the serving certificates of the server
// and its etcd, renews them, replaces the CA before it expires, and keeps the caBundle of the APIService up to date.
// All state is in Secrets, so a leader that stops in the middle of a step is followed by one that takes the same step
// again.
//
// A CA is replaced in this order, without a failed request:
//
//  1. a new CA is created and stored; the old one stays in the bundle, its private key is gone;
//  2. the bundle, now with both, is published;
//  3. after Lifetimes.Propagation, the new CA issues certificates;
//  4. the old one leaves the bundle when it expires. One that was replaced ahead of time, because its key was lost or
//     leaked, leaves as soon as every endpoint of the Service serves a certificate of the new one.
//
// A certificate that is missing or expired does not wait for step 3: nothing works that it could break. So a leaked CA
// is replaced immediately by deleting its Secret together with that of the certificate.
//
// The Publisher copies the bundle to where applications read it, with any issuer of the certificates.
//
// A CA of an Authority that does not rotate is replaced by hand only: its clients read it once.
//
// The package must never put a private key into a log line, an event, an error or a cache, and never write an object
// that it was not configured for.
package certificates
