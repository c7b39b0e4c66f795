// SPDX-License-Identifier: Apache-2.0

package reload

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/klog/v2"
)

// CatchHangup keeps SIGHUP from ending the process, which is the default: what runs by Every then looks at once. Call it
// before the first log line of a server.
func CatchHangup() {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	go func() {
		for range hangup {
			klog.InfoS("SIGHUP: logs are reopened and files reloaded")
		}
	}()
}

// Every calls f at once, after each interval, and when the process gets SIGHUP, until ctx ends. asked is true after SIGHUP.
func Every(ctx context.Context, interval time.Duration, f func(ctx context.Context, asked bool)) {
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for asked := false; ctx.Err() == nil; {
		f(ctx, asked)
		select {
		case <-ctx.Done():
		case <-ticker.C:
			asked = false
		case <-hangup:
			asked = true
		}
	}
}
