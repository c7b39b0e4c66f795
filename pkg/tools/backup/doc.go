// SPDX-License-Identifier: Apache-2.0

// Package backup is the commands `secret-apiserver backup`, `backup verify` and `restore`.
//
// A backup is a snapshot of etcd as `etcdctl snapshot save` writes it: its last 32 bytes are the SHA-256 of everything
// before them. It holds the values sealed as they are stored, and no key. The checksum detects accidents; a backup that
// was changed on purpose, with a new checksum, is detected by opening its values, each of which is authenticated.
//
// The package must never overwrite a file or a folder that holds anything, never leave an incomplete file or folder
// under the requested name, never restore what it has not checked, and never print a value.
package backup
