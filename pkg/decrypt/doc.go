// SPDX-License-Identifier: Apache-2.0

// Package decrypt releases values to the services that spec.decrypters names, over its own port.
//
// The way of a request:
//
//	TLS -> authentication -> receive the body -> in-flight limit -> RPC or GET -> Service:
//	  may the caller decrypt these names, and which decrypters may it use   (access.go)
//	  read all names in one etcd transaction                                 (sealed.Opener.Read)
//	  intersect the decrypters of each value with those of the caller        (a set operation)
//	  open what is left                                                      (sealed.Opener.Open)
//	  write one audit record per name                                        (audit.Recorder)
//	  answer
//
// A stream of changes (watch.go) takes the same way to the permissions. It says which version of a value the caller can
// open, reads no value, and follows the store by one watch for all streams (changes.go).
//
// With --allowed-decrypters=* the decrypters are known only after the read: permission to use them is checked then.
//
// The package guarantees:
//   - No value is released before its audit record is written; if it cannot be written, nothing is released.
//   - Membership of system:masters grants nothing: an administrator gets what RBAC grants by name, by default nothing.
//   - Without permission to decrypt, every name is "not authorized". With it, an absent value and one whose decrypters
//     the caller may not use get the same bytes, at the same pace.
//   - Nobody is anonymous, and an unknown path is refused like any other without credentials.
//
// The package must never log a value or put one into an error, a metric or an audit record; never open a value before
// the caller's permissions are checked; never answer on a path below /apis; never trust a header about the caller's
// identity.
package decrypt
