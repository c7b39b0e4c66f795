// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"time"

	"k8s.io/klog/v2"
)

// publishTimeout bounds one publication, so that a slow etcd does not hold up the next.
const publishTimeout = 5 * time.Second

// publish hands the head out until ctx ends. It never holds up the writer.
func (l *Log) publish(ctx context.Context) {
	ticker := time.NewTicker(l.config.PublishInterval)
	defer ticker.Stop()
	var last Head
	for {
		select {
		case <-ticker.C:
			if head := l.Head(); head != last && l.publishHead(ctx, head) {
				last = head
			}
		case <-ctx.Done():
			return
		}
	}
}

// publishHead says in the server's log and in Heads where the chain stands. The metric always does.
func (l *Log) publishHead(ctx context.Context, head Head) bool {
	klog.InfoS("Head of the decrypt audit log", "instance", l.config.Instance, "head", head)
	if l.config.Heads == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err := l.config.Heads.Advance(ctx, head)
	if err == nil {
		lastPublished.SetToCurrentTime()
		return true
	}
	publishErrors.Inc()
	if errors.Is(err, ErrHeadBehind) {
		klog.ErrorS(err, "Another server publishes the head of a decrypt audit log under this name: give each its own", "instance", l.config.Instance, "head", head)
		return false
	}
	klog.ErrorS(err, "Could not publish the head of the decrypt audit log; trying again", "instance", l.config.Instance, "head", head)
	return false
}
