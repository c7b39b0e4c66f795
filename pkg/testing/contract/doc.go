// SPDX-License-Identifier: Apache-2.0

// Package contract holds the tests of the HTTP contract: every example and status code of the user's document
// (document_test.go), everything that bad input gets (bad*_test.go), and the rules for what is sent and answered
// otherwise (the rest). They run against the real binary over TLS and send what a client sends, byte for byte where
// the bytes matter.
//
// It must never look into the server: what a test asserts is what a client, a log reader or a thief of the data folder
// can see.
package contract
