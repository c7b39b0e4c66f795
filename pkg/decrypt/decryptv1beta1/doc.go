// SPDX-License-Identifier: Apache-2.0

// Package decryptv1beta1 holds the messages of the decrypt service; decryptv1beta1connect beside it holds its client
// and handler. Both are generated from decrypt.proto by hack/update-decrypt.sh and nothing is written here by hand.
//
// A Result holds a value in clear: never log or print one.
package decryptv1beta1
