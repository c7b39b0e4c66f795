// SPDX-License-Identifier: Apache-2.0

package options

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/reload"
)

var (
	auditReopened = metrics.NewCounter(&metrics.CounterOpts{
		Name:           "secret_audit_log_reopened_total",
		Help:           "Times --audit-log-path was opened again because somebody else renamed, removed or replaced the file.",
		StabilityLevel: metrics.ALPHA,
	})
	registerAuditMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(auditReopened) })
)

// auditFile is the request audit log on disk. It holds the file open itself, so that it sees when the path names another one.
type auditFile struct {
	path string
	max  int64              // bytes
	keep *lumberjack.Logger // renames a full file and removes old ones; it writes nothing

	mu      sync.Mutex
	file    *os.File
	size    int64
	rotated time.Time
	fault   atomic.Pointer[error]
}

func newAuditFile(o *AuditOptions) (*auditFile, error) {
	registerAuditMetrics()
	f := &auditFile{
		path: filepath.Clean(o.LogPath), max: int64(o.MaxSizeMB) << 20,
		keep: &lumberjack.Logger{Filename: o.LogPath, MaxAge: o.MaxAgeDays, MaxBackups: o.MaxBackups},
	}
	return f, f.open()
}

// open goes on in the file that the path names, and leaves the one before when that is open.
func (f *auditFile) open() error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err != nil {
		return errors.Join(err, file.Close())
	}
	before := f.file
	f.file, f.size = file, info.Size()
	if before == nil {
		return nil
	}
	return before.Close()
}

// Write appends whole lines. A full file is rotated first; when that fails, the line goes into the full one.
func (f *auditFile) Write(line []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.size > 0 && f.size+int64(len(line)) > f.max {
		// lumberjack names a full file by the millisecond and overwrites the one of the same name.
		time.Sleep(time.Until(f.rotated.Truncate(time.Millisecond).Add(time.Millisecond)))
		err := errors.Join(f.keep.Rotate(), f.keep.Close(), f.open())
		f.rotated = time.Now()
		if err != nil {
			f.failed(fmt.Errorf("rotating --audit-log-path: %w", err))
		}
	}
	n, err := f.file.Write(line)
	f.size += int64(n)
	return n, err
}

// run looks every second, and on SIGHUP, whether the path still names the open file.
func (f *auditFile) run(ctx context.Context) {
	reload.Every(ctx, reload.DefaultInterval, func(context.Context, bool) { f.check() })
}

func (f *auditFile) check() {
	f.mu.Lock()
	defer f.mu.Unlock()
	mine, err := f.file.Stat()
	if err == nil {
		named, statErr := os.Stat(f.path)
		if statErr == nil && os.SameFile(mine, named) {
			f.fault.Store(nil)
			return
		}
		if errors.Is(statErr, fs.ErrNotExist) {
			err = os.MkdirAll(filepath.Dir(f.path), 0o700)
		}
	}
	if err = errors.Join(err, f.open()); err != nil {
		f.failed(fmt.Errorf("opening --audit-log-path again: %w", err))
		return
	}
	f.fault.Store(nil)
	auditReopened.Inc()
	klog.InfoS("Opened the audit log again: somebody else renamed, removed or replaced the file", "path", f.path)
}

// failed is logged once until it is mended: events go into the file that is open meanwhile.
func (f *auditFile) failed(err error) {
	if f.fault.Swap(&err) == nil {
		klog.ErrorS(err, "The audit log stays in the file that was open before")
	}
}

// Fault returns why the path does not name the file that is written to, or nil.
func (f *auditFile) Fault() error {
	if fault := f.fault.Load(); fault != nil {
		return *fault
	}
	return nil
}
