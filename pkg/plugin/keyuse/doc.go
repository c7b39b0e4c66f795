// SPDX-License-Identifier: Apache-2.0

// Package keyuse has the command `keys`: which keys the stored values are sealed under, as status.key says, and how far a rotation is.
//
// It sees what the API shows and what the caller may list. The proof that nothing is left under a key is `secret-apiserver keys
// report`, which reads the database. This package must never have a value sealed anew: the servers and their controller do.
package keyuse
