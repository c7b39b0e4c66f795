// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
	"gopkg.in/natefinch/lumberjack.v2"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit/policy"
	genericapiserver "k8s.io/apiserver/pkg/server"
	pluginlog "k8s.io/apiserver/plugin/pkg/audit/log"

	"github.com/securevalue/secret-apiserver/pkg/audit/redact"
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
		"Audit policy (audit.k8s.io). Without it every request is recorded at level Metadata.")
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
	rules *auditinternal.Policy
	out   io.Writer
}

func (o *AuditOptions) load() (*auditLog, error) {
	if o.LogPath == "" {
		return nil, nil //nolint:nilnil // no audit log is asked for
	}
	rules, err := o.rules()
	if err != nil {
		return nil, fmt.Errorf("reading --audit-policy-file: %w", err)
	}
	out, err := o.writer()
	if err != nil {
		return nil, fmt.Errorf("opening --audit-log-path: %w", err)
	}
	return &auditLog{rules: rules, out: out}, nil
}

func (l *auditLog) applyTo(config *genericapiserver.Config) {
	if l == nil {
		return
	}
	config.AuditPolicyRuleEvaluator = policy.NewPolicyRuleEvaluator(l.rules)
	config.AuditBackend = redact.NewBackend(pluginlog.NewBackend(l.out, pluginlog.FormatJson, auditv1.SchemeGroupVersion))
}

func (o *AuditOptions) rules() (*auditinternal.Policy, error) {
	if o.PolicyFile != "" {
		return policy.LoadPolicyFromFile(o.PolicyFile)
	}
	return &auditinternal.Policy{
		OmitStages: []auditinternal.Stage{auditinternal.StageRequestReceived},
		Rules:      []auditinternal.PolicyRule{{Level: auditinternal.LevelMetadata}},
	}, nil
}

// writer opens the file once at start: a path that cannot be written must stop the server, not its first request.
func (o *AuditOptions) writer() (io.Writer, error) {
	if o.LogPath == "-" {
		return os.Stdout, nil
	}
	file, err := os.OpenFile(filepath.Clean(o.LogPath), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	if err := file.Close(); err != nil {
		return nil, err
	}
	return &lumberjack.Logger{Filename: o.LogPath, MaxAge: o.MaxAgeDays, MaxBackups: o.MaxBackups, MaxSize: o.MaxSizeMB}, nil
}
