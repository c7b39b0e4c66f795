// SPDX-License-Identifier: Apache-2.0

// Package sealed is the storage layer that encrypts spec.value on the way to etcd and strips it from everything read.
//
// It sits between the etcd3 store and the watch cache:
//
//	registry.Store -> watch cache -> Store (this package) -> etcd3 -> etcd
//
// On a write, Store seals spec.value with the Sealer, clears it and puts the ciphertext into the hub-only field
// Sealed; the Codec then writes object and ciphertext side by side into one etcd value. On a read, Store drops
// Sealed again. So neither value nor ciphertext reaches the watch cache, a response or a watch event.
//
// What the package guarantees:
//   - The Codec refuses to encode an object whose spec.value is set: plaintext cannot reach etcd.
//   - Transformer output that does not start with "k8s:enc:" is refused: identity would be plaintext.
//   - A ciphertext opens only for the object, version and set of decrypters it was sealed for (see AAD).
//   - The write that sets deletionTimestamp drops the ciphertext: only a deleted object has a record without one.
//   - Any other update without a value keeps the stored ciphertext in the same compare-and-swap. Nothing is opened,
//     unless what the ciphertext is bound to changes: then the value is opened and re-sealed in that write.
//
// Beside the records it keeps in etcd what servers must know of each other's keys: which are retired, which every
// sealing write compares, and, for people, which server has loaded which.
//
// The ciphers are those of k8s.io/apiserver's EncryptionConfiguration. The package must never hold a cipher, log a
// value, or return an error that quotes one.
package sealed
