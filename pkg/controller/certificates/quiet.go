// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

// bodyLevel is the verbosity at which client-go logs whole requests and responses, and with them private keys.
const bodyLevel = 8

// withoutBodies returns a context whose requests log less than their bodies, whatever -v says.
func withoutBodies(ctx context.Context) context.Context {
	logger := klog.FromContext(ctx)
	if logger.GetSink() == nil {
		return ctx // logs nothing
	}
	return klog.NewContext(ctx, logger.WithSink(quietSink{logger.GetSink()}))
}

// quietSink is a sink that is not asked for what is more verbose than it may be.
type quietSink struct{ logr.LogSink }

// Enabled implements logr.LogSink.
func (s quietSink) Enabled(level int) bool { return level < bodyLevel && s.LogSink.Enabled(level) }

// WithValues implements logr.LogSink.
func (s quietSink) WithValues(keysAndValues ...any) logr.LogSink {
	return quietSink{s.LogSink.WithValues(keysAndValues...)}
}

// WithName implements logr.LogSink.
func (s quietSink) WithName(name string) logr.LogSink { return quietSink{s.LogSink.WithName(name)} }
