// SPDX-License-Identifier: Apache-2.0

// Package keys is the commands `secret-apiserver keys report` and `keys check`: they tell which keys the stored values
// are sealed under, so that a rotation ends with a proof, and that no key is taken away that a value still needs.
//
// Both read every stored record at one revision, of a running server or of the data folder of a stopped one, and need
// no encryption key. They must never open a value, never print anything of a record but its name and the name of its
// key, and never end well when they have not seen everything.
package keys
