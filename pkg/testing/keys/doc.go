// SPDX-License-Identifier: Apache-2.0

// Package keys tests what happens to encryption keys in the life of a server, with the real binaries: rotation under
// load with kills in between, KMS plugins that go wrong, values that do not open, and the commands `keys report` and
// `keys check`.
//
// It must never look into the memory of a server: what it knows of a key is what an operator can see.
package keys
