// SPDX-License-Identifier: Apache-2.0

// Package secretwatchv1 holds the messages of the stream of changes on the decrypt port; secretwatchv1connect beside it
// holds its client and handler. Both are generated from watch.proto by hack/update-decrypt.sh and nothing is written
// here by hand.
package secretwatchv1
