// SPDX-License-Identifier: Apache-2.0

package options

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/wait"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/audit/policy"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	pluginlog "k8s.io/apiserver/plugin/pkg/audit/log"

	"github.com/securevalue/secret-apiserver/pkg/httpguard"
	"github.com/securevalue/secret-apiserver/pkg/reload"
)

// AuditOptions say what is recorded of requests, and where.
type AuditOptions struct {
	// PolicyFile is --audit-policy-file.
	PolicyFile string
	// LogPath is --audit-log-path; "-" is standard output.
	LogPath string
	// MaxAgeDays, MaxBackups and MaxSizeMB bound the rotated files.
	MaxAgeDays, MaxBackups, MaxSizeMB int
}

// NewAuditOptions returns the defaults: no audit log; one that is asked for keeps 10 files of 100 MB.
func NewAuditOptions() *AuditOptions {
	return &AuditOptions{MaxBackups: 10, MaxSizeMB: 100}
}

// AddFlags adds the flags of this concern.
func (o *AuditOptions) AddFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.LogPath, "audit-log-path", o.LogPath,
		"File for the audit log, one JSON event a line, created with mode 0600. '-' is standard output. It never holds a value, whatever the policy says.")
	fs.StringVar(&o.PolicyFile, "audit-policy-file", o.PolicyFile,
		"Audit policy (audit.k8s.io). Reloaded when it changes. Without it every request is recorded at level Metadata.")
	fs.IntVar(&o.MaxAgeDays, "audit-log-maxage", o.MaxAgeDays, "Days to keep old audit files. 0 keeps them whatever their age.")
	fs.IntVar(&o.MaxBackups, "audit-log-maxbackup", o.MaxBackups, "Number of old audit files to keep. 0 keeps all.")
	fs.IntVar(&o.MaxSizeMB, "audit-log-maxsize", o.MaxSizeMB, "Megabytes after which the audit file is rotated.")
}

func (o *AuditOptions) validate() []error {
	var errs []error
	if o.PolicyFile != "" && o.LogPath == "" {
		errs = append(errs, errors.New("--audit-policy-file needs --audit-log-path"))
	}
	if o.MaxAgeDays < 0 || o.MaxBackups < 0 {
		errs = append(errs, errors.New("--audit-log-maxage and --audit-log-maxbackup must not be negative"))
	}
	if o.MaxSizeMB < 1 {
		errs = append(errs, fmt.Errorf("--audit-log-maxsize must be at least 1, not %d", o.MaxSizeMB))
	}
	return errs
}

// auditLog is what the flags name: nil without --audit-log-path.
type auditLog struct {
	rules auditRules
	// file is --audit-policy-file; nil without one.
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

func (o *AuditOptions) load(ctx context.Context) (*auditLog, error) {
	if o.LogPath == "" {
		return nil, nil //nolint:nilnil // no audit log is asked for
	}
	l := &auditLog{out: os.Stdout}
	l.rules.use(&auditinternal.Policy{
		OmitStages: []auditinternal.Stage{auditinternal.StageRequestReceived},
		Rules:      []auditinternal.PolicyRule{{Level: auditinternal.LevelMetadata}},
	})
	if o.PolicyFile != "" {
		l.file = &reload.File{Flag: "audit-policy-file", Path: o.PolicyFile, Apply: l.rules.apply, Done: func(error) {}}
		if err := l.file.Load(ctx); err != nil {
			return nil, err
		}
	}
	if o.LogPath == "-" {
		return l, nil
	}
	// A path that cannot be written must stop the server, not its first request.
	file, err := newAuditFile(o)
	if err != nil {
		return nil, fmt.Errorf("opening --audit-log-path: %w", err)
	}
	l.out = file
	return l, nil
}

// applyAudit records requests, and follows file and policy until the last request is served.
func (o *Options) applyAudit(l *auditLog, config *genericapiserver.Config) error {
	if l == nil {
		return nil
	}
	config.AuditPolicyRuleEvaluator = &l.rules
	config.AuditBackend = httpguard.NewBackend(pluginlog.NewBackend(l.out, pluginlog.FormatJson, auditv1.SchemeGroupVersion))
	file, isFile := l.out.(*auditFile)
	if isFile {
		o.addFault("audit-log", "the file of the path cannot be opened, events go into the one before: see the log", file.Fault)
	}
	if l.file != nil {
		o.addFault(l.file.Flag, refused, l.file.Fault)
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
