// SPDX-License-Identifier: Apache-2.0

package etcd

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"go.etcd.io/etcd/client/pkg/v3/logutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// The phases of a member decide what happens to a log entry.
const (
	starting int32 = iota
	serving
	stopping
)

// hook turns lg.Fatal and lg.Panic, by which etcd reports a bad data directory, into an error of Start. Once the member
// serves, both end the process as usual: a member that cannot write its log must not continue.
type hook struct {
	phase  atomic.Int32
	failed chan error
	quiet  bool
}

func newHook(quiet bool) *hook { return &hook{failed: make(chan error, 1), quiet: quiet} }

// fail reports why the start failed. The first error wins.
func (h *hook) fail(err error) {
	select {
	case h.failed <- err:
	default:
	}
}

// recover reports a panic of etcd on damaged data that comes without a log entry.
func (h *hook) recover() {
	if r := recover(); r != nil {
		h.fail(fmt.Errorf("its data is damaged: %v", r))
	}
}

// logger writes warnings and errors to w as JSON lines. They contain only key and size of requests: etcd prints
// requests through its Loggable types.
func (h *hook) logger(w io.Writer) *zap.Logger {
	core := zapcore.NewCore(
		zapcore.NewJSONEncoder(logutil.DefaultZapLoggerConfig.EncoderConfig),
		zapcore.Lock(zapcore.AddSync(w)), zap.LevelEnablerFunc(h.enabled))
	return zap.New(filter{core}, zap.AddCaller(),
		zap.WithFatalHook(terminal{h, zapcore.WriteThenFatal}),
		zap.WithPanicHook(terminal{h, zapcore.WriteThenPanic})).Named("etcd")
}

// enabled drops the fatal entries of a failing start, which the caller returns as an error, and what etcd logs about
// closed listeners during a stop.
func (h *hook) enabled(l zapcore.Level) bool {
	phase := h.phase.Load()
	switch {
	case phase == starting:
		return l >= zapcore.WarnLevel && l < zapcore.DPanicLevel && !h.quiet
	case phase == stopping || h.quiet:
		return l >= zapcore.DPanicLevel
	default:
		return l >= zapcore.WarnLevel
	}
}

// filter drops two errors of a member's first milliseconds: etcd reads the schema version before the database has one,
// and again later. Only a downgrade of etcd needs it.
type filter struct{ zapcore.Core }

// With keeps the filter on derived loggers.
func (f filter) With(fields []zapcore.Field) zapcore.Core { return filter{f.Core.With(fields)} }

// Check adds the core to an entry worth writing.
func (f filter) Check(ent zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if ent.Message == "Failed to detect schema version" || ent.Message == "failed to update storage version" {
		return ce
	}
	return f.Core.Check(ent, ce)
}

// terminal is the hook of one level; then is its action after the start.
type terminal struct {
	*hook
	then zapcore.CheckWriteHook
}

// OnWrite ends the calling goroutine while the member starts, and does what zap does by default afterwards.
func (t terminal) OnWrite(ce *zapcore.CheckedEntry, fields []zapcore.Field) {
	if t.phase.Load() != starting {
		t.then.OnWrite(ce, fields)
		return
	}
	t.fail(entryError(ce.Message, fields))
	runtime.Goexit()
}

func entryError(msg string, fields []zapcore.Field) error {
	for _, f := range fields {
		if err, ok := f.Interface.(error); ok && f.Type == zapcore.ErrorType {
			return fmt.Errorf("%s: %w", msg, err)
		}
	}
	return errors.New(msg)
}
