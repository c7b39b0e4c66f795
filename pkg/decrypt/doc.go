// SPDX-License-Identifier: Apache-2.0

// Package decrypt lets the services that spec.decrypters names have their values, over a port of its own.
//
// One request goes this way:
//
//	TLS -> authentication -> body is read -> in-flight limit -> RPC or GET -> Service:
//	  may the caller decrypt these names, and which decrypters may it use   (access.go; nothing is read yet)
//	  read all names in one etcd transaction                                 (sealed.Opener.Read)
//	  intersect the decrypters of each value with those of the caller        (a set operation)
//	  open what is left                                                      (sealed.Opener.Open)
//	  write one audit record for each name                                   (audit.Recorder)
//	  answer
//
// What the package guarantees:
//   - No value leaves before its audit record is written; if it cannot be written, nothing leaves.
//   - Membership of system:masters counts for nothing: an administrator gets what RBAC grants by name, and by default
//     that is nothing.
//   - Without the right to decrypt, every name is "not authorized". With it, an absent value and one whose decrypters the
//     caller may not use are answered with the same bytes, at the same pace.
//   - Nobody is anonymous, and a path that is not known is refused like any other without credentials.
//
// The package must never log a value or put one into an error, a metric or an audit record; never read a value before the
// caller's rights are settled; never answer on a path below /apis; never trust a header about who the caller is.
package decrypt
