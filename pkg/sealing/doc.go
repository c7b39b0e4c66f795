// SPDX-License-Identifier: Apache-2.0

// Package sealing encrypts a value for one SecureValue object, so that the text, spec.sealedValue, may stand in Git. It
// needs the standard library only and can be used outside of this project. A text has one spelling, of four parts:
//
//	sv1:KEY-ID:NOT-AFTER:CIPHERTEXT
//	KEY-ID      the first 16 hexadecimal digits, in lower case, of SHA-256(public key)
//	NOT-AFTER   Unix seconds in decimal, 1 to 253402300799, without sign or leading zeros; empty: never expires
//	CIPHERTEXT  base64url without padding and with zero trailing bits (RFC 4648, section 5) of enc || ct
//
// enc and ct are those of HPKE (RFC 9180), single-shot, base mode, with an empty aad and the suite
//
//	KEM   0x647A MLKEM768-X25519 (draft-ietf-hpke-pq, X-Wing): private key 32 bytes, public key 1216, enc 1120
//	KDF   0x0001 HKDF-SHA256, AEAD 0x0002 AES-256-GCM
//
// info is what the text is bound to: a list of strings, written as their number and then, for each, its length in bytes
// and its bytes. The number and the lengths are uint32, big-endian. The strings are "secret.grafana.app/sv1", KEY-ID,
// namespace, name, NOT-AFTER and each different decrypter, sorted by its bytes.
//
// The plaintext is the length of the value in bytes (uint32, big-endian), the value, and zeros: the value and its zeros
// together are 256, 512 or 1024 bytes or the next multiple of 1024, the size class that a text shows. testdata has
// vectors for implementations in other languages. Texts lack forward secrecy: a private key that leaks opens every
// text ever sealed with its public key.
package sealing
