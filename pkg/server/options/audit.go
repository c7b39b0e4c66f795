// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// AuditOptions configure the audit log of requests.
type AuditOptions struct {
	// PolicyFile is --audit-policy-file.
	PolicyFile string
	// LogPath is --audit-log-path; "-" is standard output, "" turns the log off.
	LogPath string
	// Rotation limits the files of the log.
	Rotation
}

// Rotation limits the files of a log.
type Rotation struct {
	MaxAgeDays, MaxBackups, MaxSizeMB int
}

func newAuditOptions() *AuditOptions {
	return &AuditOptions{Rotation: Rotation{MaxBackups: 10, MaxSizeMB: 100}}
}

func (o *AuditOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.LogPath, "audit-log-path", o.LogPath,
		"File for the audit log, one JSON event per line, created with mode 0600. '-' is standard output. It never "+
			"contains a value, whatever the policy.")
	fs.StringVar(&o.PolicyFile, "audit-policy-file", o.PolicyFile,
		"File with the audit policy (audit.k8s.io). Reloaded when it changes. By default every request is recorded at "+
			"level Metadata.")
	o.Rotation.addFlags(fs, "audit")
}

func (o *AuditOptions) validate() []error {
	var errs []error
	if o.PolicyFile != "" && o.LogPath == "" {
		errs = append(errs, errors.New("--audit-policy-file needs --audit-log-path"))
	}
	return append(errs, o.Rotation.validate("audit")...)
}

// addFlags adds the flags of the log "audit" or "decrypt audit".
func (o *Rotation) addFlags(fs *pflag.FlagSet, log string) {
	name := flagOf(log)
	fs.IntVar(&o.MaxAgeDays, name+"-maxage", o.MaxAgeDays, "Maximum age of old "+log+" files in days. 0 sets no limit.")
	fs.IntVar(&o.MaxBackups, name+"-maxbackup", o.MaxBackups, "Maximum number of old "+log+" files. 0 sets no limit.")
	fs.IntVar(&o.MaxSizeMB, name+"-maxsize", o.MaxSizeMB,
		"Maximum size of the "+log+" file in megabytes before it is rotated.")
}

func (o *Rotation) validate(log string) []error {
	var errs []error
	name := flagOf(log)
	if o.MaxAgeDays < 0 || o.MaxBackups < 0 {
		errs = append(errs, fmt.Errorf("--%s-maxage and --%[1]s-maxbackup must not be negative", name))
	}
	if o.MaxSizeMB < 1 {
		errs = append(errs, fmt.Errorf("--%s-maxsize must be at least 1, not %d", name, o.MaxSizeMB))
	}
	return errs
}

func flagOf(log string) string { return strings.ReplaceAll(log, " ", "-") + "-log" }
