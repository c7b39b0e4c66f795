// SPDX-License-Identifier: Apache-2.0

// Package keys is the commands `secret-apiserver keys report` and `keys check`: they report which keys seal the stored
// values, so that a rotation ends with a proof and no key is removed that a value still needs.
//
// Both read every stored record at one revision, of a running server or of the data folder of a stopped one, and need
// no encryption key. They must never open a value, never print anything of a record but its name and the name of its
// key, and never succeed when they have not read everything.
package keys
