// SPDX-License-Identifier: Apache-2.0

// Package backup is the commands `secret-apiserver backup`, `backup verify` and `restore`.
//
// A backup is a snapshot of etcd as `etcdctl snapshot save` writes it, with the SHA-256 of all that is before it in its
// last 32 bytes. It holds the values sealed as they are stored, and no key. The checksum finds accidents; against
// somebody who computes a new one, each value is authenticated by its own encryption, which verifying opens.
//
// The package must never write over a file or into a folder that holds anything, never leave a file or a folder under
// the asked name that is not whole, never restore what it has not checked, and never print a value.
package backup
