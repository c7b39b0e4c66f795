// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	restclient "k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/controller/rewrap"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

// rewrapRestart is how long the rewrap controller stays down after it failed as a whole. The server goes on without it.
const rewrapRestart = 10 * time.Second

// rewrapStop bounds waiting for it at the end. A manager of controller-runtime that is told to stop while its cache is being filled
// waits for the cache for ever, and the server that would fill it is gone by then. It holds nothing that needs closing.
const rewrapStop = 5 * time.Second

// startRewrap runs the rewrap controller through the server's own loopback client once the server is ready. The returned
// function ends it and returns when it has ended.
func startRewrap(ctx context.Context, loopback *restclient.Config, opts *options.RewrapOptions) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	if opts.Enabled {
		group.Go(func() {
			if err := waitReady(ctx, loopback); err != nil {
				return // the server stops before it was ready
			}
			wait.UntilWithContext(ctx, func(ctx context.Context) {
				if err := rewrap.Run(ctx, loopback, opts.Options); err != nil && ctx.Err() == nil {
					klog.ErrorS(err, "The rewrap controller ended; starting it again", "in", rewrapRestart)
				}
			}, rewrapRestart)
		})
	}
	return func() {
		cancel()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			group.Wait()
		}()
		select {
		case <-ended:
		case <-time.After(rewrapStop):
			klog.InfoS("The rewrap controller did not end in time and is left behind", "after", rewrapStop)
		}
	}
}
