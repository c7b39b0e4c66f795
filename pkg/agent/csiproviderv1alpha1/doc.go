// SPDX-License-Identifier: Apache-2.0

// Package csiproviderv1alpha1 holds the messages between the Secrets Store CSI driver and its providers;
// csiproviderv1alpha1connect beside it holds client and handler. Both are generated from provider.proto by
// hack/update-decrypt.sh and nothing is written here by hand.
package csiproviderv1alpha1
