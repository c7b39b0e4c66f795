// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"
	"k8s.io/apimachinery/pkg/util/wait"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	pluginlog "k8s.io/apiserver/plugin/pkg/audit/log"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"

	"github.com/securevalue/secret-apiserver/pkg/httpguard"
	"github.com/securevalue/secret-apiserver/pkg/reload"
	"github.com/securevalue/secret-apiserver/pkg/server/options"
)

// auditLog is the audit log of requests.
type auditLog struct {
	rules auditRules
	// file is --audit-policy-file, nil if it is not set.
	file *reload.File
	out  io.Writer
}

// auditRules is the policy in force.
type auditRules struct {
	current atomic.Pointer[audit.PolicyRuleEvaluator]
}

// EvaluatePolicyRule implements audit.PolicyRuleEvaluator.
func (r *auditRules) EvaluatePolicyRule(attributes authorizer.Attributes) audit.RequestAuditConfig {
	return (*r.current.Load()).EvaluatePolicyRule(attributes)
}

func (r *auditRules) use(rules *auditinternal.Policy) {
	evaluator := policy.NewPolicyRuleEvaluator(rules)
	r.current.Store(&evaluator)
}

func (r *auditRules) apply(_ context.Context, data []byte) error {
	rules, err := policy.LoadPolicyFromBytes(data)
	if err == nil {
		r.use(rules)
	}
	return err
}

// loadAudit opens the log, so that a path that cannot be written stops the start and not the first request.
func loadAudit(ctx context.Context, o *options.AuditOptions) (*auditLog, error) {
	if o.LogPath == "" {
		return nil, nil //nolint:nilnil // the audit log is off
	}
	l := &auditLog{out: os.Stdout}
	l.rules.use(&auditinternal.Policy{
		OmitStages: []auditinternal.Stage{auditinternal.StageRequestReceived},
		Rules:      []auditinternal.PolicyRule{{Level: auditinternal.LevelMetadata}},
	})
	if o.PolicyFile != "" {
		l.file = &reload.File{Flag: "audit-policy-file", Path: o.PolicyFile, Holds: reload.Rights, Apply: l.rules.apply}
		if err := l.file.Load(ctx); err != nil {
			return nil, err
		}
	}
	if o.LogPath == "-" {
		return l, nil
	}
	file, err := newAuditFile(o)
	if err != nil {
		return nil, fmt.Errorf("opening --audit-log-path: %w", err)
	}
	l.out = file
	return l, nil
}

// wireAudit records requests, and follows file and policy until the last request is served.
func (s *server) wireAudit(config *genericapiserver.Config) error {
	l := s.inputs.audit
	if l == nil {
		return nil
	}
	config.AuditPolicyRuleEvaluator = &l.rules
	config.AuditBackend = httpguard.NewBackend(
		pluginlog.NewBackend(l.out, pluginlog.FormatJson, auditv1.SchemeGroupVersion))
	file, isFile := l.out.(*auditFile)
	if isFile {
		s.notices.addFault("audit-log",
			"the file of the path cannot be opened, events go into the one before: see the log", file.Fault)
	}
	if l.file != nil {
		s.notices.addFault(l.file.Flag, refused, l.file.Fault)
	}
	return config.AddPostStartHook("watch-audit-files", func(genericapiserver.PostStartHookContext) error {
		drained := wait.ContextForChannel(config.DrainedNotify())
		if isFile {
			go file.run(drained)
		}
		if l.file != nil {
			go l.file.Run(drained, reload.DefaultInterval)
		}
		return nil
	})
}

var (
	auditReopened = metrics.NewCounter(&metrics.CounterOpts{
		Name: "secret_audit_log_reopened_total",
		Help: "Number of times --audit-log-path was reopened because another process renamed, removed " +
			"or replaced the file.",
		StabilityLevel: metrics.ALPHA,
	})
	registerAuditMetrics = sync.OnceFunc(func() { legacyregistry.MustRegister(auditReopened) })
)

// auditFile is the audit log on disk. It holds the file open itself, so that it notices when the path names another
// file.
type auditFile struct {
	path string
	max  int64              // bytes
	keep *lumberjack.Logger // rotates files and removes old ones; it writes nothing

	mu      sync.Mutex
	file    *os.File
	size    int64
	rotated time.Time
	fault   atomic.Pointer[error]
}

func newAuditFile(o *options.AuditOptions) (*auditFile, error) {
	registerAuditMetrics()
	f := &auditFile{
		path: filepath.Clean(o.LogPath), max: int64(o.MaxSizeMB) << 20,
		keep: &lumberjack.Logger{Filename: o.LogPath, MaxAge: o.MaxAgeDays, MaxBackups: o.MaxBackups},
	}
	return f, f.open()
}

// open opens the file that the path names and then closes the one before.
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
		time.Sleep(min(time.Millisecond, time.Until(f.rotated.Add(time.Millisecond))))
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

// run checks every second, and on SIGHUP, that the path still names the open file.
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
		f.failed(fmt.Errorf("reopening --audit-log-path: %w", err))
		return
	}
	f.fault.Store(nil)
	auditReopened.Inc()
	klog.InfoS("Reopened the audit log: another process renamed, removed or replaced the file", "path", f.path)
}

// failed logs the first of several errors in a row. Meanwhile events go into the file that is open.
func (f *auditFile) failed(err error) {
	if f.fault.Swap(&err) == nil {
		klog.ErrorS(err, "Still writing the audit log to the file that was open before")
	}
}

// Fault returns why the path does not name the file that is written to, or nil.
func (f *auditFile) Fault() error {
	if fault := f.fault.Load(); fault != nil {
		return *fault
	}
	return nil
}
