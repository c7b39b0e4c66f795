// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"net"

	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

// runAggregated serves behind the kube-apiserver of a cluster. The server keeps nothing of its own.
func runAggregated(ctx context.Context, opts options.CompletedOptions, listener net.Listener) error {
	inputs, err := opts.Load(ctx, nil)
	if err != nil {
		return err
	}
	return serve(ctx, opts, inputs, func() {
		klog.InfoS("Ready", "address", listener.Addr().String(), "decrypt", opts.Decrypt.Address())
	})
}
