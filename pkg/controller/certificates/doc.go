// SPDX-License-Identifier: Apache-2.0

// Package certificates is the own CA of a cluster without another one: it issues the certificates that the server and
// its etcd are reached by, renews them, replaces the CA before it ends, and keeps the caBundle of the APIService equal
// to what it issued. Everything it knows is in Secrets, so a leader that stops in the midst of a step is followed by one
// that takes the same step again.
//
// A CA is replaced in this order, which no request notices:
//
//  1. a new CA is made and stored; the old one stays in the bundle, its private key is gone;
//  2. the bundle, now of both, is published;
//  3. after Lifetimes.Propagation, certificates are issued by the new CA;
//  4. once every endpoint of the Service answers with a certificate of the new CA, the old one leaves the bundle.
//
// A CA of an Authority that does not rotate is replaced by people only: whoever reads it reads it once.
//
// The package must never put a private key into a log line, an event, an error or a cache, and never write an object
// that it was not told the name of.
package certificates
