// SPDX-License-Identifier: Apache-2.0

package options

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/securevalue/secret-apiserver/pkg/decrypt/audit"
)

// DecryptAuditOptions say where it is recorded who was given which value.
type DecryptAuditOptions struct {
	// LogPath is --decrypt-audit-log-path, KeyFile --decrypt-audit-key-file.
	LogPath, KeyFile string
	// Fsync is --decrypt-audit-fsync.
	Fsync string
	// Instance is --decrypt-audit-instance.
	Instance string
	// MaxAgeDays, MaxBackups and MaxSizeMB bound the rotated files.
	MaxAgeDays, MaxBackups, MaxSizeMB int

	generateKey bool
}

func newDecryptAuditOptions() *DecryptAuditOptions {
	defaults := audit.NewConfig()
	return &DecryptAuditOptions{
		Fsync: string(defaults.Fsync), MaxBackups: defaults.MaxBackups, MaxSizeMB: int(defaults.MaxSize >> 20),
	}
}

func (o *DecryptAuditOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.LogPath, "decrypt-audit-log-path", o.LogPath,
		"File for one record of each name that is asked for, written before a value leaves. Without it a standalone server uses decrypt-audit/decrypt.log in --data-dir.")
	fs.StringVar(&o.KeyFile, "decrypt-audit-key-file", o.KeyFile,
		"Key that chains those records: 32 random bytes in base64, outside of the folder of the log. Without it a standalone server generates decrypt-audit.key in --data-dir.")
	fs.StringVar(&o.Fsync, "decrypt-audit-fsync", o.Fsync,
		"What a release waits for: always (the disk has the record), interval (the disk is asked once a second) or never. The end of the process loses no record with any of them.")
	fs.StringVar(&o.Instance, "decrypt-audit-instance", o.Instance,
		"Name of this server's chain of records among those of the servers that share an etcd. It must stay the same over restarts. (default the host name, \"standalone\" in a standalone server)")
	fs.IntVar(&o.MaxAgeDays, "decrypt-audit-log-maxage", o.MaxAgeDays, "Days to keep old decrypt audit files. 0 keeps them whatever their age.")
	fs.IntVar(&o.MaxBackups, "decrypt-audit-log-maxbackup", o.MaxBackups, "Number of old decrypt audit files to keep. 0 keeps all.")
	fs.IntVar(&o.MaxSizeMB, "decrypt-audit-log-maxsize", o.MaxSizeMB, "Megabytes after which the decrypt audit file is rotated.")
}

func (o *DecryptAuditOptions) validate() []error {
	var errs []error
	if (o.LogPath == "") != (o.KeyFile == "") {
		errs = append(errs, errors.New("--decrypt-audit-log-path and --decrypt-audit-key-file go together"))
	}
	switch audit.Fsync(o.Fsync) {
	case audit.FsyncAlways, audit.FsyncInterval, audit.FsyncNever:
	default:
		errs = append(errs, fmt.Errorf("--decrypt-audit-fsync must be always, interval or never, not %q", o.Fsync))
	}
	if o.MaxAgeDays < 0 || o.MaxBackups < 0 {
		errs = append(errs, errors.New("--decrypt-audit-log-maxage and --decrypt-audit-log-maxbackup must not be negative"))
	}
	if o.MaxSizeMB < 1 {
		errs = append(errs, fmt.Errorf("--decrypt-audit-log-maxsize must be at least 1, not %d", o.MaxSizeMB))
	}
	return errs
}

// UseFiles sets log and key of a standalone server that was given none. The key is generated when there is none yet. A
// chain in a data folder is the only one of its etcd and moves with it to another host.
func (o *DecryptAuditOptions) UseFiles(log, key string) {
	if o.LogPath == "" {
		o.LogPath, o.KeyFile, o.generateKey = log, key, true
	}
	if o.Instance == "" {
		o.Instance = "standalone"
	}
}

// config is what the flags say. heads keeps the published head.
func (o *DecryptAuditOptions) config(instance string, heads audit.HeadStore) audit.Config {
	config := audit.NewConfig()
	config.Path, config.KeyFile, config.GenerateKey = o.LogPath, o.KeyFile, o.generateKey
	config.Instance, config.Heads = instance, heads
	config.Fsync = audit.Fsync(o.Fsync)
	config.MaxSize, config.MaxBackups = int64(o.MaxSizeMB)<<20, o.MaxBackups
	config.MaxAge = time.Duration(o.MaxAgeDays) * 24 * time.Hour
	return config
}

// instance names the chain: by the flag, or by the host.
func (o *DecryptAuditOptions) instance() (string, error) {
	if o.Instance != "" {
		return o.Instance, nil
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("the host has no name: set --decrypt-audit-instance: %w", err)
	}
	return name, nil
}
